//! The code of `docs/from-twisted-deferred.md`, each piece as it stands there, and that the page and this file agree.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use pb_core::defer::{OnFailure, Settlement, all_settled, first, gather};
use pb_core::{Deferred, DeferredExt, Failure, FailureKind, Ran};
use pb_tests::live::{Chain, NodeRef};
use pb_tests::pages::{Block, blocks, stands_in};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/from-twisted-deferred.md");
    fs::read_to_string(path).expect("the page is there")
}

fn missing<'a>(page: &'a str, code: &str) -> Vec<Block<'a>> {
    pieces(page).filter(|piece| !stands_in(piece, code)).collect()
}

fn pieces(page: &str) -> impl Iterator<Item = Block<'_>> {
    blocks(page).into_iter().filter(|block| block.language == "rust")
}

#[test]
fn every_piece_of_code_of_the_page_is_compiled_and_run_here() {
    let page = page();
    assert!(pieces(&page).count() >= 10, "saw only {} pieces", pieces(&page).count());
    let missing: Vec<String> =
        missing(&page, include_str!("guide.rs")).iter().map(|piece| piece.lines.join("\n")).collect();
    assert!(missing.is_empty(), "these stand on the page and not here:\n{}", missing.join("\n\n"));
}

#[test]
fn every_name_of_the_table_is_one_of_the_crates_or_said_to_be_missing() {
    let page = page();
    let names = ["Deferred::new", "add_callback", "add_errback", "add_both", "add_callbacks", "add_timeout"];
    let more = ["Deferred::cancel", "with_canceller", "gather", "all_settled", "first", "follow", "detach"];
    for name in names.into_iter().chain(more) {
        assert!(page.contains(name), "{name} is not on the page");
    }
}

#[test]
fn firing() {
    let (resolver, deferred) = Deferred::<u32>::new();
    std::thread::spawn(move || resolver.resolve(42));
    let answer = futures::executor::block_on(deferred);
    assert_eq!(answer, Ok(42));
}

#[test]
fn callbacks_and_errbacks() {
    let (resolver, text) = Deferred::<String>::new();
    let number = text
        .add_callback(|text| text.trim().parse::<u32>().map_err(no_number))
        .add_callback(|number| Ok(number * 2))
        .add_errback(|failure| if failure.kind == FailureKind::Failed { Ok(0) } else { Err(failure) });

    fn no_number(error: std::num::ParseIntError) -> Failure {
        Failure::new(FailureKind::Failed, Ran::Yes, error.to_string())
    }
    resolver.resolve(" 21".into());
    assert_eq!(futures::executor::block_on(number), Ok(42));
}

#[test]
fn fire_and_forget() {
    let (resolver, deferred) = Deferred::<u32>::new();
    let (sender, printed) = mpsc::channel();
    let print = move |n| sender.send(n);
    let printing = deferred.add_callback(move |n| {
        print(n).expect("somebody reads");
        Ok(())
    });
    printing.detach();
    resolver.resolve(42);
    assert_eq!(printed.try_recv(), Ok(42));
}

#[tokio::test]
async fn chaining() {
    let chain = Chain::of(1).await;
    let root = chain.root.clone();
    let same = root.clone();
    let total = root.say(1).add_callback(move |n| same.say(n + 1)).add_callback(|n| Ok(n + 1));
    assert_eq!(total.await, Ok(3));
    drop(root);
    chain.finish().await;

    let (resolver, outer) = Deferred::<u32>::new();
    let inner = Deferred::<u32>::succeed(7);
    resolver.follow(inner);
    assert_eq!(outer.await, Ok(7));
}

#[tokio::test]
async fn the_same_with_async() {
    let chain = Chain::of(1).await;
    let root = chain.root.clone();
    async fn total(node: NodeRef) -> Result<u64, Failure> {
        let n = node.say(1).await?;
        Ok(node.say(n + 1).await? + 1)
    }
    let total = Deferred::from_future(total(root));
    assert_eq!(total.await, Ok(3));
    chain.finish().await;
}

#[test]
fn cancelling() {
    let (work, stop) = mpsc::channel();
    let (resolver, deferred) = Deferred::<u32>::with_canceller(move || {
        let _ = work.send("stop");
        None
    });
    Deferred::cancel(&deferred);
    assert_eq!(stop.try_recv(), Ok("stop"));
    assert_eq!(resolver.resolve(42), Settlement::Late(42));
    let failure = futures::executor::block_on(deferred).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Cancelled);
}

#[tokio::test]
async fn a_worker_that_stops_by_itself() {
    let (mut resolver, deferred) = Deferred::<u32>::new();
    let worker = tokio::spawn(async move {
        tokio::select! {
            n = std::future::pending() => drop(resolver.resolve(n)),
            () = resolver.cancelled() => {}
        }
    });
    drop(deferred);
    assert!(worker.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn timing_out() {
    use std::time::Duration;
    let (_resolver, deferred) = Deferred::<u32>::new();
    let in_time = deferred.add_timeout(tokio::time::sleep(Duration::from_secs(10)));
    assert_eq!(in_time.await.unwrap_err().kind, FailureKind::DeadlineExceeded);
}

#[tokio::test]
async fn many_as_one() {
    let chain = Chain::of(1).await;
    let node = chain.root.clone();
    let all = gather((0..3).map(|n| node.say(n)), OnFailure::CancelRest);
    assert_eq!(all.await, Ok(vec![0, 1, 2]));

    let each = all_settled([node.say(1), Deferred::fail(refused())]);
    assert_eq!(each.await, Ok(vec![Ok(1), Err(refused())]));

    let fastest = first([node.hang(vec![]), node.say(2)]);
    assert_eq!(fastest.await, Ok(2));
    drop(node);
    chain.finish().await;
}

#[tokio::test]
async fn calling_on_what_is_not_there_yet() {
    let chain = Chain::of(1).await;
    let (connected, node) = Deferred::<NodeRef>::new();
    let answer = node.open("ada".into()).say(3);
    connected.resolve(chain.root.clone());
    assert_eq!(answer.await, Ok(3));
    drop(node);
    chain.finish().await;
}

#[test]
fn in_tests() {
    use futures::FutureExt;
    let (resolver, deferred) = Deferred::<u32>::new();
    let mut doubled = deferred.add_callback(|n| Ok(n * 2));
    assert_eq!((&mut doubled).now_or_never(), None);
    resolver.resolve(21);
    assert_eq!(doubled.now_or_never(), Some(Ok(42)));
}

fn refused() -> Failure {
    Failure::new(FailureKind::Refused, Ran::No, "not you")
}
