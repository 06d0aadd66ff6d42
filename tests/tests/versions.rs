//! Builds of different age of one trait meet: over a socket, in one process and in two. `docs/protocol.md`, section 10.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use pb_server::{Broker, CallError, Failure, FailureKind, Ran, Running, Server, Stub};
use pb_tests::golden;
use pb_tests::live::soon;
use pb_tests::raw::{self, Raw};

#[path = "versions/builds.rs"]
mod builds;
#[path = "versions/frames.rs"]
mod frames;
#[path = "versions/processes.rs"]
mod processes;

use builds::{middle, new, old};

async fn served(root: impl Stub) -> (Running, Broker) {
    let server = Server::new(root).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let running = server.spawn().expect("it listens");
    let client = pb_client::connect(running.url()).await.expect("it serves");
    (running, client)
}

fn broker_failure<E: std::fmt::Debug>(error: CallError<E>) -> Failure {
    match error {
        CallError::Broker(failure) => failure,
        CallError::App(error) => panic!("the method ran: {error:?}"),
    }
}

fn incompatible(failure: &Failure) {
    assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::No), "{failure}");
}

#[tokio::test]
async fn an_older_caller_need_not_know_arguments_that_have_defaults() {
    let (_running, client) = served(new::ShopRef::new(new::MyShop::default())).await;
    let shop: old::ShopRef = client.root();
    assert_eq!(soon(shop.order("tea".into())).await.expect("served"), "0 tea, gift None");
    let shop: middle::ShopRef = client.root();
    assert_eq!(soon(shop.order("tea".into(), 3)).await.expect("served"), "3 tea, gift None");
    let shop: new::ShopRef = client.root();
    let ordered = soon(shop.order("tea".into(), 3, Some("ada".into()))).await;
    assert_eq!(ordered.expect("served"), "3 tea, gift Some(\"ada\")");
}

#[tokio::test]
async fn a_newer_caller_at_the_defaults_is_served_by_an_older_callee() {
    let (_running, client) = served(old::ShopRef::new(old::MyShop::default())).await;
    let shop: new::ShopRef = client.root();
    assert_eq!(soon(shop.order("tea".into(), 0, None)).await.expect("served"), "tea");
    let shop: middle::ShopRef = client.root();
    assert_eq!(soon(shop.order("milk".into(), 0)).await.expect("served"), "milk");
}

#[tokio::test]
async fn the_longest_signature_that_both_know_decides() {
    let (_running, client) = served(middle::ShopRef::new(middle::MyShop)).await;
    let shop: new::ShopRef = client.root();
    assert_eq!(soon(shop.order("tea".into(), 3, None)).await.expect("served"), "3 tea");
    let shop: old::ShopRef = client.root();
    assert_eq!(soon(shop.order("tea".into())).await.expect("served"), "0 tea");
}

#[tokio::test]
async fn what_an_older_callee_would_not_hear_fails_and_is_not_run() {
    let (_running, client) = served(old::ShopRef::new(old::MyShop::default())).await;
    let shop: new::ShopRef = client.root();
    let failed = soon(shop.order("tea".into(), 3, None)).await.expect_err("it knows no count");
    incompatible(&broker_failure(failed));
    let failed = soon(shop.order("tea".into(), 0, Some("ada".into()))).await.expect_err("it knows no gifts");
    incompatible(&broker_failure(failed));
    assert_eq!(soon(shop.orders()).await, Ok(0));
    assert_eq!(soon(shop.order("tea".into(), 0, None)).await.expect("served"), "tea");
    assert_eq!(soon(shop.orders()).await, Ok(1));

    let (_running, client) = served(middle::ShopRef::new(middle::MyShop)).await;
    let shop: new::ShopRef = client.root();
    let failed = soon(shop.order("tea".into(), 3, Some("ada".into()))).await.expect_err("it knows no gifts");
    incompatible(&broker_failure(failed));
}

#[tokio::test]
async fn callbacks_meet_by_the_same_rule() {
    // The newer side calls an older watcher, and the older side a newer one.
    let (_running, client) = served(new::ShopRef::new(new::MyShop::default())).await;
    let shop: old::ShopRef = client.root();
    assert_eq!(soon(shop.watch(old::WatcherRef::new(old::MyWatcher))).await, Ok("saw tea".to_owned()));

    let (_running, client) = served(old::ShopRef::new(old::MyShop::default())).await;
    let shop: new::ShopRef = client.root();
    let watcher = new::WatcherRef::new(new::MyWatcher);
    assert_eq!(soon(shop.watch(watcher)).await, Ok("saw 0 tea".to_owned()));
}

#[tokio::test]
async fn casts_meet_by_the_same_rule() {
    let (_running, client) = served(old::ShopRef::new(old::MyShop::default())).await;
    let shop: new::ShopRef = client.root();
    shop.note("heard".into(), 0);
    shop.note("not heard".into(), 1);
    shop.note("heard".into(), 0);
    assert_eq!(soon(shop.notes()).await, Ok(2));
}

#[tokio::test]
async fn a_method_that_an_older_build_lacks_is_unimplemented_and_the_others_go_on() {
    let (_running, client) = served(old::ShopRef::new(old::MyShop::default())).await;
    let shop: new::ShopRef = client.root();
    let failure = soon(shop.take_back("tea".into())).await.expect_err("it is newer");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Unimplemented, Ran::No), "{failure}");
    assert!(failure.message.contains("Shop/take_back"), "{failure}");
    assert_eq!(soon(shop.orders()).await, Ok(0));
}

#[tokio::test]
async fn an_interface_that_an_older_build_lacks_is_unimplemented() {
    let (_running, client) = served(old::ShopRef::new(old::MyShop::default())).await;
    let audited: new::AuditedRef = client.root();
    let failure = soon(audited.audit()).await.expect_err("it is newer");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Unimplemented, Ran::No), "{failure}");
    let (_running, client) = served(new::ShopRef::new(new::MyShop::default())).await;
    assert_eq!(soon(client.root::<new::AuditedRef>().audit()).await, Ok(0));
}

#[tokio::test]
async fn any_other_change_is_incompatible_and_names_both_signatures() {
    let old_price = "Shop/price(what: str) -> u64";
    let new_price = "Shop/price(what: str) -> i64";
    let (_running, client) = served(new::ShopRef::new(new::MyShop::default())).await;
    let shop: old::ShopRef = client.root();
    let failure = soon(shop.price("tea".into())).await.expect_err("another result");
    incompatible(&failure);
    assert!(failure.message.contains(&format!("the callee's is {new_price}")), "{failure}");
    assert!(failure.message.ends_with(&format!("the caller's signature is {old_price}")), "{failure}");

    let (_running, client) = served(old::ShopRef::new(old::MyShop::default())).await;
    let shop: new::ShopRef = client.root();
    let failure = soon(shop.price("tea".into())).await.expect_err("another result");
    incompatible(&failure);
    assert!(failure.message.contains(&format!("the callee's is {old_price}")), "{failure}");
    assert!(failure.message.ends_with(&format!("the caller's signature is {new_price}")), "{failure}");

    let failed = soon(shop.order("tea".into(), 3, None)).await.expect_err("it knows no count");
    let failure = broker_failure(failed);
    let ours = "Shop/order(what: str, count: u32 = default, gift: ?str = default) -> str or error";
    assert!(failure.message.contains(ours), "{failure}");
}

#[tokio::test]
async fn a_middleman_passes_on_what_both_ends_know() {
    let (_running, far) = served(old::ShopRef::new(old::MyShop::default())).await;
    let (_relay, client) = served(far.root::<old::ShopRef>()).await;
    let shop: new::ShopRef = client.root();
    assert_eq!(soon(shop.order("tea".into(), 0, None)).await.expect("served"), "tea");
    let failed = soon(shop.order("tea".into(), 3, None)).await.expect_err("the far end knows no count");
    let failure = broker_failure(failed);
    incompatible(&failure);
    assert!(failure.message.contains("the callee's is Shop/order(what: str) -> str"), "{failure}");
    assert!(failure.message.contains("the caller's signature is Shop/order(what: str, count"), "{failure}");
}

#[tokio::test]
async fn references_in_arguments_that_the_callee_does_not_read_are_given_back() {
    let (server, client) = pb_server::pair(old::ShopRef::new(old::MyShop::default())).await;
    let shop: new::ShopRef = client.root();
    let watchers = vec![new::WatcherRef::new(new::MyWatcher)];
    incompatible(&soon(shop.tell(watchers)).await.expect_err("it knows none"));
    assert_eq!(soon(shop.tell(Vec::new())).await, Ok(()));
    drop(shop);
    pb_tests::live::until(
        || server.tables().imports == 0 && client.tables().exports == 0,
        || format!("server {:?}, client {:?}", server.tables(), client.tables()),
    )
    .await;
}

#[tokio::test]
async fn stub_and_object_of_two_builds_in_one_process_are_incompatible() {
    let shop = new::ShopRef::new(new::MyShop::default());
    let older: old::ShopRef = shop.remote().cast();
    let failed = soon(older.order("tea".into())).await.expect_err("other types");
    incompatible(&broker_failure(failed));
    assert_eq!(soon(shop.orders()).await, Ok(0));
}

#[tokio::test]
async fn an_argument_without_a_fixed_default_is_always_needed() {
    let (_running, client) = served(old::ShopRef::new(old::MyShop::default())).await;
    let shop: new::ShopRef = client.root();
    incompatible(&soon(shop.stamp(new::Counted::default())).await.expect_err("each default is another"));
    let (_running, client) = served(new::ShopRef::new(new::MyShop::default())).await;
    assert!(soon(client.root::<old::ShopRef>().stamp()).await.is_ok());
}

static DEFAULTS: AtomicU64 = AtomicU64::new(0);

#[test]
fn flags_and_defaults_are_seen_from_outside() {
    let method = |name: &str| {
        let methods = <new::ShopRef as Stub>::interface().methods();
        methods.iter().find(|method| method.short_name() == name).expect("it has it")
    };
    assert!(method("orders").flags().idempotent);
    assert!(!method("order").flags().idempotent);
    assert_eq!(method("order").shape().optional, 2);
    let text = method("order").text();
    assert_eq!((text.fewest, text.prints.len()), (1, 3));
    let text = method("orders").text();
    assert_eq!((text.fewest, text.prints.len()), (0, 1));
}

fn next_default() -> u64 {
    DEFAULTS.fetch_add(1, SeqCst)
}
