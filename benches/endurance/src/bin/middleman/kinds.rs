//! The kinds of calls that A makes. Each checks what comes back.

use crate::api::{FarRef, Numbered, ThingRef};
use pb_client::{Bytes, CallError, Cause, Failure};
use std::fmt::Debug;

/// Why a call did not do what it should.
pub enum Trouble {
    /// The connection: fine where one was cut.
    Broken(Failure),
    /// Never fine.
    Wrong(String),
}

/// Who calls.
pub struct Lane<'a> {
    /// B's root.
    pub far: &'a FarRef,
    /// No other lane has it.
    pub number: u64,
    /// Casts that were sent.
    pub casts: &'a mut u64,
    /// Objects of B's that are kept for a while.
    pub kept: &'a mut Vec<(u64, ThingRef)>,
}

/// How many kinds there are.
pub const KINDS: u64 = 16;

/// Makes the calls of one kind; `dice` is any number. Says how many calls that were.
pub async fn call(lane: &mut Lane<'_>, kind: u64, dice: u64) -> Result<u64, Trouble> {
    let far = lane.far;
    match kind {
        0 | 1 => far.null().await.map(|()| 1).map_err(Trouble::Broken),
        2 => echo(far, dice).await,
        3 => made(far, dice).await,
        4 => equal(far.make(dice).touch().await?, dice, 2),
        5 => equal(answered(far.touch_it(far.make(dice).promised()).await)?, dice, 2),
        6 => equal(answered(far.touch_it(ThingRef::new(Numbered::new(dice))).await)?, dice, 2),
        7 => home(far, dice).await,
        8 => mirrored(far, dice).await,
        9 => {
            drop(far.wait());
            drop(far.make(dice));
            Ok(2)
        }
        10 => cancelled(far).await,
        11 => {
            far.note(lane.number, *lane.casts);
            *lane.casts += 1;
            Ok(1)
        }
        12 => refused(far, dice).await,
        13 => refused_early(far, dice).await,
        14 => keep(lane, dice).await,
        _ => kept(lane, dice).await,
    }
}

async fn echo(far: &FarRef, dice: u64) -> Result<u64, Trouble> {
    let bytes = Bytes::from(vec![dice as u8; (dice >> 8) as usize % 3000]);
    equal(far.echo(bytes.clone()).await?, bytes, 1)
}

async fn made(far: &FarRef, dice: u64) -> Result<u64, Trouble> {
    let thing = far.make(dice).await?;
    equal(thing.touch().await?, dice, 2)
}

/// A reference of A's own comes home through two processes: it is the object again.
async fn home(far: &FarRef, dice: u64) -> Result<u64, Trouble> {
    let thing = ThingRef::new(Numbered::new(dice));
    let back = far.mirror(thing.clone()).await?;
    if back.remote().local::<Numbered>().is_none() || !back.remote().same(&thing) {
        return Err(Trouble::Wrong("A's own object did not come home".to_owned()));
    }
    equal(back.touch().await?, dice, 2)
}

/// The same before it is known where it leads.
async fn mirrored(far: &FarRef, dice: u64) -> Result<u64, Trouble> {
    equal(far.mirror(ThingRef::new(Numbered::new(dice))).touch().await?, dice, 2)
}

/// A promise that never settles, with a call on it, is not wanted any more.
async fn cancelled(far: &FarRef) -> Result<u64, Trouble> {
    let never = far.never();
    let on_it = never.touch();
    far.null().await?;
    drop((never, on_it));
    Ok(3)
}

async fn refused(far: &FarRef, dice: u64) -> Result<u64, Trouble> {
    match far.refuse(dice).await {
        Err(CallError::App(refusal)) => equal(refusal.number, dice, 1),
        Err(CallError::Broker(failure)) => Err(Trouble::Broken(failure)),
        Ok(_) => Err(Trouble::Wrong("what is refused was answered".to_owned())),
    }
}

/// A call on what is refused fails with the refusal as its cause, as far as that comes along.
async fn refused_early(far: &FarRef, dice: u64) -> Result<u64, Trouble> {
    match far.refuse(dice).touch().await {
        Ok(number) => Err(Trouble::Wrong(format!("a call on what was refused was answered {number}"))),
        Err(failure) => match failure.cause.as_deref() {
            Some(Cause::App(_)) => Ok(2),
            _ => Err(Trouble::Broken(failure)),
        },
    }
}

async fn keep(lane: &mut Lane<'_>, dice: u64) -> Result<u64, Trouble> {
    let thing = lane.far.make(dice).await?;
    if lane.kept.len() < MOST_KEPT {
        lane.kept.push((dice, thing));
    }
    Ok(1)
}

async fn kept(lane: &mut Lane<'_>, dice: u64) -> Result<u64, Trouble> {
    if lane.kept.is_empty() {
        return keep(lane, dice).await;
    }
    let at = dice as usize % lane.kept.len();
    let (number, thing) = lane.kept.swap_remove(at);
    equal(thing.touch().await?, number, 1)
}

fn equal<T: PartialEq + Debug>(came: T, due: T, calls: u64) -> Result<u64, Trouble> {
    if came == due { Ok(calls) } else { Err(Trouble::Wrong(format!("{came:?} came instead of {due:?}"))) }
}

/// What B could not do at once: its own call on the reference failed, which a cut explains.
fn answered(answer: Result<u64, CallError<String>>) -> Result<u64, Trouble> {
    answer.map_err(|error| match error {
        CallError::Broker(failure) => Trouble::Broken(failure),
        CallError::App(text) => {
            let kind = pb_client::FailureKind::Broken;
            Trouble::Broken(Failure::new(kind, pb_client::Ran::Maybe, text))
        }
    })
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Broken(failure)
    }
}

/// Objects that a lane keeps at the most.
const MOST_KEPT: usize = 20;
