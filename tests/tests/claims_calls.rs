//! Claims about calls and pipelining, on real brokers: a client with its server, and with middlemen between.
//! `tests/claims.md` says which claim is proved where.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use pb_server::{AppError, CallError, FailureKind, Limits, Ran, Referenceable, Stub, remote_interface};
use pb_tests::live::{Chain, MyNode, NodeRef, Over, Trouble, World, soon, until};

/// A client with its server, with one middleman, and with two.
const LINKS: std::ops::RangeInclusive<usize> = 1..=3;

#[tokio::test]
async fn calls_made_before_anything_is_awaited_start_in_order_and_a_failing_one_fails_alone() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let root = &chain.root;
        let before = [root.say(0), root.say(1)];
        let failing = root.fail("alone".into());
        let after = [root.say(2), root.say(3)];
        for (n, call) in (0..).zip(before.into_iter().chain(after)) {
            assert_eq!(soon(call).await, Ok(n));
        }
        let alone = Trouble::Said { text: "alone".into(), cents: 7 };
        assert_eq!(soon(failing).await.err(), Some(CallError::App(alone)));
        let started = ["root.say(0)", "root.say(1)", "root.fail()", "root.say(2)", "root.say(3)"];
        assert_eq!(chain.world.started(), started);
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_call_on_a_result_that_has_not_come_runs_in_the_same_round_trip() {
    let chain = Chain::over(Over::Tcp, 1, Limits::default()).await;
    chain.hold_answers();
    let said = chain.root.open("ada".into()).say(1); // The Deferred of `open` is dropped here.
    until(|| chain.world.started().len() == 2, || format!("{:?}", chain.world.started())).await;
    assert_eq!(chain.world.started(), ["root.open(ada)", "ada.say(1)"]);
    chain.let_answers_go();
    assert_eq!(soon(said).await, Ok(1));
    chain.finish().await;
}

#[tokio::test]
async fn a_chain_ten_deep_is_one_round_trip() {
    let chain = Chain::over(Over::Tcp, 1, Limits::default()).await;
    chain.hold_answers();
    let mut node = chain.root.open("0".into()).promised();
    for n in 1..9 {
        node = node.open(n.to_string()).promised();
    }
    let said = node.say(10);
    until(|| chain.world.started().len() == 10, || format!("{:?}", chain.world.started())).await;
    assert_eq!(chain.world.started()[9], "8.say(10)");
    chain.let_answers_go();
    assert_eq!(soon(said).await, Ok(10));
    drop(node);
    chain.finish().await;
}

#[remote_interface]
trait Audited {
    async fn say(&self, n: u64) -> u64;
    async fn r#type(&self, r#fn: String) -> String;
}

#[remote_interface]
trait Branch {
    async fn r#move(&self, r#where: AuditedRef) -> BranchRef;
    async fn open_late(&self) -> BranchRef;
    async fn all(&self, branches: Vec<BranchRef>, by_name: BTreeMap<String, AuditedRef>) -> Listing;
}

/// References within values, in every kind of container.
type Listing = (Vec<BranchRef>, HashMap<String, AuditedRef>, Option<Box<BranchRef>>);

#[derive(Referenceable)]
#[referenceable(Audited)]
struct MyBranch(NodeRef, Arc<AtomicUsize>);

impl MyBranch {
    fn new(gate: &NodeRef, alive: &Arc<AtomicUsize>) -> MyBranch {
        alive.fetch_add(1, SeqCst);
        MyBranch(gate.clone(), Arc::clone(alive))
    }
}

impl Drop for MyBranch {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

impl Audited for MyBranch {
    async fn say(&self, n: u64) -> u64 {
        n + 1000
    }
    async fn r#type(&self, r#fn: String) -> String {
        format!("branch {fn}", fn = r#fn)
    }
}

impl Branch for MyBranch {
    async fn r#move(&self, r#where: AuditedRef) -> BranchRef {
        r#where.remote().cast()
    }
    async fn open_late(&self) -> BranchRef {
        let _ = self.0.open_late("gate".into()).await;
        BranchRef::new(MyBranch::new(&self.0, &self.1))
    }
    async fn all(&self, branches: Vec<BranchRef>, by_name: BTreeMap<String, AuditedRef>) -> Listing {
        let last = branches.last().cloned().map(Box::new);
        (branches, by_name.into_iter().collect(), last)
    }
}

/// A branch behind `links` connections, and what its objects are counted by.
async fn branch() -> (pb_server::Broker, pb_server::Broker, Arc<World>, Arc<AtomicUsize>) {
    let (world, alive) = (Arc::new(World::default()), Arc::default());
    let root = BranchRef::new(MyBranch::new(&world.node("gate"), &alive));
    let (server, client) = pb_server::pair(root).await;
    (server, client, world, alive)
}

async fn empty(ends: [&pb_server::Broker; 2], alive: &AtomicUsize) {
    let idle = || ends.iter().all(|end| end.tables() == Default::default()) && alive.load(SeqCst) == 1;
    until(idle, || format!("{:?}, {} alive", ends.map(|end| end.tables()), alive.load(SeqCst))).await;
}

#[tokio::test]
async fn a_pipelined_reference_can_be_cast_before_it_resolved() {
    let (server, client, world, alive) = branch().await;
    let root: BranchRef = client.root();
    let late = root.open_late();
    let audited: AuditedRef = late.remote().cast();
    let wrong: NodeRef = late.remote().cast();
    let (said, failed) = (audited.say(1), wrong.say(1));
    drop(late);
    until(|| world.started() == ["gate.open_late()"], || format!("{:?}", world.started())).await;
    world.open_gate();
    assert_eq!(soon(said).await, Ok(1001));
    assert_eq!(soon(failed).await.expect_err("it offers no Node").kind, FailureKind::Unimplemented);
    assert_eq!(soon(audited.say(2)).await, Ok(1002));
    drop((audited, wrong, root));
    empty([&server, &client], &alive).await;
}

#[tokio::test]
async fn interfaces_may_be_several_with_raw_names_lists_and_maps_of_references() {
    let (server, client, world, alive) = branch().await;
    let root: BranchRef = client.root();
    let audited: AuditedRef = root.remote().cast();
    assert_eq!(soon(audited.r#type("new".into())).await.as_deref(), Ok("branch new"));
    world.open_gate();
    let late = soon(root.open_late()).await.expect("another branch");
    let moved = soon(root.r#move(late.remote().cast())).await.expect("moved");
    assert!(moved.remote().same(&late));
    let ours = BranchRef::new(MyBranch::new(&NodeRef::new(MyNode::new("own", &Arc::default())), &alive));
    let by_name = BTreeMap::from([("a".to_owned(), audited.clone()), ("b".to_owned(), ours.remote().cast())]);
    let (list, map, last) =
        soon(root.all(vec![late.clone(), ours.clone()], by_name)).await.expect("what was sent");
    assert!(list[0].remote().same(&late) && list[1].remote().same(&ours));
    assert!(last.expect("there is a last").remote().same(&ours));
    assert!(map["b"].remote().local::<MyBranch>().is_some(), "ours came home");
    assert_eq!(soon(map["a"].say(1)).await, Ok(1001));
    drop((root, audited, late, moved, ours, list, map));
    empty([&server, &client], &alive).await;
}

#[tokio::test]
async fn a_call_may_be_for_its_pipeline_only() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        // Nobody waits for `open`: its promise is all that is kept, and its answer is never looked at.
        let promised = chain.root.open("ada".into()).promised();
        chain.root.open("bob".into()).note(5);
        assert_eq!(soon(promised.say(1)).await, Ok(1));
        until(|| chain.world.started().contains(&"bob.note(5)".to_owned()), || "no note".into()).await;
        drop(promised);
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_method_may_hand_out_a_reference_before_it_has_returned() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        // `hold` has not returned, but its caller has the reference already, from a callback.
        let ours = chain.world.node("ours");
        soon(chain.root.keep(vec![ours.clone()])).await.expect("kept");
        let held = chain.root.hold(ours.clone());
        let early = soon(chain.root.kept()).await.expect("what was kept");
        assert_eq!(soon(early.say(1)).await, Ok(1));
        chain.world.open_gate();
        assert!(soon(held).await.expect("let go").remote().same(&ours));
        soon(chain.root.forget()).await.expect("forgotten");
        drop((ours, early));
        chain.finish().await;
    }
}

/// The server answers with the promise of a call of its own, which has not ended.
#[tokio::test]
async fn a_method_may_return_a_reference_that_is_known_later_and_calls_on_it_wait_in_order() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let ours = chain.world.node("ours");
        let later = chain.root.echo(ours.open_late("late".into()).promised());
        let before = [later.say(0), later.say(1)];
        let known = soon(later).await.expect("the method has returned");
        let after = [known.say(2), known.say(3)];
        assert!(!chain.world.started().iter().any(|line| line.starts_with("late.")));
        chain.world.open_gate();
        for (n, call) in (0..).zip(before.into_iter().chain(after)) {
            assert_eq!(soon(call).await, Ok(n));
        }
        let started: Vec<_> =
            chain.world.started().into_iter().filter(|line| line.starts_with("late.")).collect();
        assert_eq!(started, ["late.say(0)", "late.say(1)", "late.say(2)", "late.say(3)"]);
        drop((ours, known));
        chain.finish().await;
    }
}

#[tokio::test]
async fn the_pipeline_stays_usable_after_the_response_was_dropped() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let opened = chain.root.open("ada".into());
        let promised = opened.promised();
        drop(soon(opened).await.expect("opened"));
        assert_eq!(soon(promised.say(5)).await, Ok(5));
        assert!(chain.world.freed().is_empty());
        drop(promised);
        chain.finish().await;
    }
}

#[tokio::test]
async fn an_error_reaches_every_call_made_on_the_result_and_every_call_that_was_given_it() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let failed = chain.root.fail("first".into());
        let on_it = failed.open("never".into());
        let (on_that, with_it) = (on_it.say(1), chain.root.tell(failed.promised(), 2));
        let echoed = chain.root.echo(failed.promised());
        let on_echo = echoed.say(3);
        let cause = Some(Trouble::Said { text: "first".into(), cents: 7 });
        for failure in [
            soon(on_it).await.expect_err("it failed"),
            soon(on_that).await.expect_err("it failed"),
            soon(on_echo).await.expect_err("it failed"),
        ] {
            assert_eq!((failure.kind, failure.ran), (FailureKind::Broken, Ran::No), "{links}: {failure:?}");
            assert_eq!(failure.app::<Trouble>(), cause, "{links}");
        }
        // The method was given a broken promise, and ran.
        let Err(CallError::App(Trouble::Callback(_))) = soon(with_it).await else {
            panic!("{links}: it ran")
        };
        assert!(!chain.world.started().iter().any(|line| line.contains("never")));
        drop((failed, echoed));
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_method_gets_a_reference_to_its_own_object_that_is_the_same_to_the_client() {
    for links in LINKS {
        let chain = Chain::of(links).await;
        let node = soon(chain.root.open("ada".into())).await.expect("opened");
        let itself = soon(node.this()).await.expect("itself");
        assert!(itself.remote().same(&node));
        assert!(soon(itself.this()).await.expect("itself").remote().same(&node));
        let root = soon(chain.root.this()).await.expect("the root");
        assert_eq!(soon(root.name()).await.as_deref(), Ok("root"));
        drop((node, itself, root));
        chain.finish().await;
    }
}

/// A process that serves and is its own client: no socket, and what it hands itself comes home.
#[tokio::test]
async fn a_connection_to_oneself_needs_no_network() {
    let world = Arc::new(World::default());
    let served = world.node("root");
    let server = pb_server::Server::new(served.clone()).listen("mem://claims-oneself").await.expect("a name");
    let running = server.spawn().expect("it listens");
    let client = pb_client::connect("mem://claims-oneself").await.expect("connected");
    let root: NodeRef = client.root();
    let ours = world.node("ours");
    assert!(soon(root.echo(ours.clone())).await.expect("an echo").remote().local::<MyNode>().is_some());
    assert_eq!(soon(root.tell(ours.clone(), 3)).await, Ok(3));
    // The server's own object, by way of the connection: it comes home to the server.
    let opened = soon(root.open("ada".into())).await.expect("opened");
    assert!(opened.remote().local::<MyNode>().is_none(), "through the connection it is a reference");
    assert_eq!(soon(root.tell(opened.clone(), 4)).await, Ok(4));
    // And without any connection the stub is the object.
    assert!(served.remote().local::<MyNode>().is_some());
    assert_eq!(soon(served.tell(ours.clone(), 5)).await, Ok(5));
    assert!(root.as_reference().key() != served.as_reference().key());
    drop((root, ours, opened));
    until(
        || client.tables() == Default::default() && world.alive() == 1,
        || format!("{:?}", client.tables()),
    )
    .await;
    drop((client, served));
    soon(running.shutdown()).await;
    until(|| world.alive() == 0, || format!("{} alive", world.alive())).await;
}

#[remote_interface]
trait Relay {
    async fn open_far(&self, name: String) -> NodeRef;
}

/// Ends each of its calls with the promise of a call of its own, to another process.
#[derive(Referenceable)]
struct MyRelay(NodeRef, Arc<AtomicUsize>);

impl Relay for MyRelay {
    async fn open_far(&self, name: String) -> NodeRef {
        self.1.fetch_add(1, SeqCst);
        self.0.open_late(name).promised()
    }
}

#[tokio::test]
async fn calls_on_the_result_of_a_tail_call_go_on_to_the_final_callee_in_order() {
    let chain = Chain::of(1).await;
    let relayed = Arc::default();
    let (middle, client) =
        pb_server::pair(RelayRef::new(MyRelay(chain.root.clone(), Arc::clone(&relayed)))).await;
    let root: RelayRef = client.root();
    let opened = root.open_far("far".into());
    let before = [opened.say(0), opened.say(1)];
    let known = soon(opened).await.expect("the relay has answered");
    let after = known.say(2);
    until(|| chain.world.started() == ["root.open_late()"], || format!("{:?}", chain.world.started())).await;
    chain.world.open_gate();
    for (n, call) in (0..).zip(before.into_iter().chain([after])) {
        assert_eq!(soon(call).await, Ok(n));
    }
    assert_eq!(chain.world.started(), ["root.open_late()", "far.say(0)", "far.say(1)", "far.say(2)"]);
    assert_eq!(
        relayed.load(SeqCst),
        1,
        "the relay is called once, and never of what is called on its result"
    );
    drop((root, known));
    until(
        || [&middle, &client].iter().all(|end| end.tables() == Default::default()),
        || format!("{:?} {:?}", middle.tables(), client.tables()),
    )
    .await;
    client.close();
    soon(middle.closed()).await;
    drop((middle, client));
    chain.finish().await;
}

#[tokio::test]
async fn letting_go_of_a_tail_call_stops_its_callee() {
    for known in [false, true] {
        let chain = Chain::of(1).await;
        let relay = MyRelay(chain.root.clone(), Arc::default());
        let (middle, client) = pb_server::pair(RelayRef::new(relay)).await;
        let root: RelayRef = client.root();
        let opened = root.open_far("far".into());
        let said = opened.say(0);
        until(|| chain.world.started() == ["root.open_late()"], || format!("{:?}", chain.world.started()))
            .await;
        if known {
            drop(soon(opened).await.expect("the relay has answered"));
        } else {
            drop(opened);
        }
        drop(said);
        until(|| chain.world.stopped() == 1, || format!("{known}: the callee runs on")).await;
        drop(root);
        client.close();
        soon(middle.closed()).await;
        drop((middle, client));
        chain.finish().await;
    }
}
