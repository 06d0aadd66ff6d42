//! What `shadow_graph` has found, as it printed it: each was a bug.

use pb_tests::shadow::{Action::*, End::*, How::*, Method::*, Ref::*, Run, play};

fn plays(run: &Run) {
    if let Err(wrong) = play(run) {
        panic!("{wrong}");
    }
}

/// Calls that waited for a result in a circle held their arguments, cancelled or not, and those held the circle.
#[test]
fn found_by_seed_566() {
    let run = Run {
        nodes: 4,
        links: vec![(0, 1), (1, 2), (2, 3), (3, 0)],
        small: false,
        actions: vec![
            Call { at: 159, how: Reference, method: Hold, on: Held(226), with: [None, None] },
            Call { at: 78, how: Reference, method: Hold, on: Held(53), with: [None, None] },
            Promise { at: 226, call: 125 },
            Promise { at: 83, call: 35 },
            Call {
                at: 151,
                how: Value,
                method: Keep,
                on: Held(253),
                with: [Some(Held(30)), Some(Held(218))],
            },
            Call { at: 67, how: Reference, method: Open, on: Held(66), with: [Some(Held(238)), None] },
            Call { at: 29, how: Reference, method: Hold, on: Own, with: [None, None] },
            Call {
                at: 182,
                how: Reference,
                method: Open,
                on: Held(68),
                with: [Some(Held(131)), Some(Root(3))],
            },
            Call { at: 148, how: Reference, method: Open, on: Held(141), with: [Some(Held(143)), None] },
            Promise { at: 239, call: 62 },
        ],
    };
    plays(&run);
}

/// An error that nobody waited for was kept with its references by the promise of the call's result, which was one of them.
#[test]
fn found_by_seed_251361() {
    let run = Run {
        nodes: 2,
        links: vec![(0, 1)],
        small: false,
        actions: vec![
            Call { at: 1, how: Reference, method: Hold, on: Held(51), with: [None, None] },
            Call { at: 0, how: Reference, method: Hold, on: Root(1), with: [None, None] },
            Deliver { way: 160 },
            Promise { at: 1, call: 0 },
            Answer { at: 1, waiting: 0, end: One(Held(175)) },
            Promise { at: 0, call: 0 },
            Promise { at: 0, call: 0 },
            Detach { at: 154, call: 43 },
            Call { at: 0, how: Reference, method: Hold, on: Root(3), with: [Some(Held(74)), None] },
            Promise { at: 0, call: 0 },
            Deliver { way: 209 },
            Answer { at: 0, waiting: 0, end: One(Held(2)) },
            Deliver { way: 156 },
            Answer { at: 1, waiting: 0, end: Error },
        ],
    };
    plays(&run);
}

/// What was called by a result's id went before what waited in the promise that names it.
#[test]
fn found_by_seed_799991() {
    let run = Run {
        nodes: 2,
        links: vec![(0, 1)],
        small: true,
        actions: vec![
            Call { at: 0, how: Reference, method: Say, on: Held(133), with: [None, None] },
            Call { at: 0, how: Reference, method: Echo, on: Held(16), with: [None, None] },
            Deliver { way: 190 },
            Deliver { way: 118 },
            Call { at: 0, how: Reference, method: Hold, on: Held(72), with: [None, None] },
            Deliver { way: 50 },
            Call { at: 1, how: Cast, method: Say, on: Root(3), with: [None, None] },
            Call { at: 1, how: Reference, method: Hold, on: Held(108), with: [None, None] },
            Deliver { way: 133 },
            Deliver { way: 161 },
            Take { at: 0, call: 0 },
            Promise { at: 0, call: 0 },
            Call { at: 0, how: Reference, method: Echo, on: Held(48), with: [None, None] },
            Deliver { way: 33 },
            Deliver { way: 67 },
            Promise { at: 1, call: 0 },
            Call { at: 0, how: Value, method: Fail, on: Root(0), with: [None, None] },
            Call { at: 1, how: Reference, method: Hold, on: Root(0), with: [None, None] },
            Answer { at: 0, waiting: 0, end: One(Held(151)) },
            Release { at: 0, held: 0 },
            Promise { at: 1, call: 0 },
            Promise { at: 1, call: 1 },
            Answer { at: 1, waiting: 0, end: One(Held(50)) },
            Deliver { way: 156 },
            Deliver { way: 78 },
            Call { at: 1, how: Cast, method: Open, on: Held(243), with: [None, None] },
            Deliver { way: 190 },
            Call { at: 1, how: Cast, method: Open, on: Held(88), with: [None, None] },
        ],
    };
    plays(&run);
}
