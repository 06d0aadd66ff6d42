//! Calls by name, with types of the caller's choice: here, over connections, and through middlemen.

use std::time::Duration;

use pb_core::{AnyRef, CallError, Deferred, FailureKind, Limits, Ran, Referenceable, Stub, remote_interface};
use pb_server::pair;
use pb_tests::live::{Chain, NodeRef, Over, Trouble, soon};
use serde::{Deserialize, Serialize};

/// In one process, over one connection, and through two middlemen.
const WAYS: [usize; 3] = [0, 1, 3];

fn any(stub: &impl Stub) -> AnyRef {
    AnyRef::from_reference(stub.as_reference().clone())
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn a_method_is_called_by_its_full_name_or_its_own() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let root = any(&chain.root);
        assert_eq!(soon(root.remote().call("Node/say", (7u64,))).await, Ok(7u64));
        assert_eq!(soon(root.remote().call("say", (8u64,))).await, Ok(8u64));
        assert_eq!(soon(chain.root.remote().call("say", (9u64,))).await, Ok(9u64));
        assert_eq!(soon(root.remote().call("name", ())).await, Ok(text("root")));
        drop(root);
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_chain_of_calls_by_name_takes_one_round_trip() {
    let chain = Chain::over(Over::Tcp, 2, Limits::default()).await;
    chain.hold_answers();
    let opened = chain.root.remote().call::<AnyRef>("open", (text("a"),));
    let deeper = opened.remote().call::<AnyRef>("Node/open", (text("b"),));
    let said = deeper.remote().call::<u64>("say", (5u64,));
    pb_tests::live::until(|| chain.world.started().len() == 3, || format!("{:?}", chain.world.started()))
        .await;
    assert_eq!(chain.world.started(), ["root.open(a)", "a.open(b)", "b.say(5)"]);
    chain.let_answers_go();
    assert_eq!(soon(said).await, Ok(5));
    assert!(soon(opened).await.is_ok() && soon(deeper).await.is_ok());
    chain.finish().await;
}

#[tokio::test]
async fn typed_calls_and_calls_by_name_follow_each_other_on_promises() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let typed = chain.root.remote().call::<NodeRef>("Node/open", (text("a"),));
        assert_eq!(soon(typed.say(1)).await, Ok(1));
        let by_name = chain.root.open("b".into());
        assert_eq!(soon(by_name.remote().call("say", (2u64,))).await, Ok(2u64));
        let cast: NodeRef = chain.root.remote().call::<AnyRef>("open", (text("c"),)).remote().cast();
        assert_eq!(soon(cast.name()).await.as_deref(), Ok("c"));
        drop((typed, by_name, cast));
        chain.finish().await;
    }
}

#[tokio::test]
async fn references_are_arguments_and_results_and_come_home() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let own = chain.world.node("own");
        let echoed = soon(chain.root.remote().call::<NodeRef>("Node/echo", (own.clone(),))).await;
        let home = soon(chain.root.remote().call::<AnyRef>("Node/echo", (any(&own),))).await;
        assert!(echoed.expect("echoed").remote().same(&own) && home.expect("echoed").remote().same(&own));
        let kept = soon(chain.root.remote().call::<()>("keep", (vec![any(&own), any(&own)],))).await;
        assert_eq!(kept, Ok(()));
        assert!(soon(chain.root.kept()).await.expect("kept").remote().same(&own));
        let many = soon(chain.root.remote().call::<Vec<AnyRef>>("Node/many", (3u32,))).await.expect("made");
        assert_eq!(many.len(), 3);
        // A promise as an argument.
        let late = chain.root.remote().call::<AnyRef>("open", (text("late"),));
        let told = chain.root.remote().try_call::<u64, Trouble>("tell", (late.promised(), 4u64));
        assert_eq!(soon(told).await, Ok(4));
        soon(chain.root.forget()).await.expect("forgotten");
        drop((own, many, late));
        chain.finish().await;
    }
}

#[tokio::test]
async fn other_types_are_refused_with_both_signatures_and_nothing_runs() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        // As encoded, 100i32 is 200u64.
        let failure = soon(chain.root.remote().call::<u64>("Node/say", (100i32,))).await.expect_err("i32");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::No));
        assert!(failure.message.contains("Node/say(n: u64) -> u64"), "{failure}");
        assert!(failure.message.contains("Node/say(i32) -> u64"), "{failure}");
        // The stub's own interface completes the name.
        let failure = soon(chain.root.remote().call::<u64>("say", (100i32,))).await.expect_err("i32");
        assert_eq!(failure.kind, FailureKind::Incompatible);
        let failure = soon(chain.root.remote().call::<()>("say", (1u64,))).await.expect_err("no unit");
        assert_eq!(failure.kind, FailureKind::Incompatible);
        let failure = soon(chain.root.remote().call::<u64>("say", ())).await.expect_err("too few");
        assert_eq!(failure.kind, FailureKind::Incompatible);
        assert_eq!(chain.world.started(), [""; 0]);
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_result_that_is_no_reference_where_one_is_expected_is_incompatible() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        // Nothing is compared by: the name is bare.
        let wrong = any(&chain.root).remote().call::<AnyRef>("say", (1u64,));
        let failure = soon(wrong).await.expect_err("a number");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::Yes), "{failure}");
        let wrong = any(&chain.root).remote().call::<u64>("open", (text("a"),));
        let failure = soon(wrong).await.expect_err("a reference");
        assert_eq!(failure.kind, FailureKind::Incompatible, "{failure}");
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_methods_own_error_comes_as_its_type_or_is_incompatible() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let said = Trouble::Said { text: text("no"), cents: 7 };
        let failed = chain.root.remote().try_call::<NodeRef, Trouble>("Node/fail", (text("no"),));
        let on_it = failed.say(1);
        assert_eq!(soon(failed).await.map(drop), Err(CallError::App(said)));
        assert_eq!(soon(on_it).await.expect_err("there is none").kind, FailureKind::Broken);
        let failure = soon(chain.root.remote().call::<NodeRef>("Node/fail", (text("no"),))).await;
        assert_eq!(failure.expect_err("no error was expected").kind, FailureKind::Incompatible);
        let failure = soon(any(&chain.root).remote().call::<AnyRef>("fail", (text("no"),))).await;
        let failure = failure.expect_err("no error was expected");
        assert_eq!(failure.kind, FailureKind::Incompatible);
        assert!(failure.message.contains("an error of its own"), "{failure}");
        chain.finish().await;
    }
}

#[tokio::test]
async fn what_cannot_be_a_name_is_not_sent() {
    let chain = Chain::of(1).await;
    let long = "m".repeat(257);
    for name in ["", "$describe", "$named", "a\nb", &long] {
        let failure = soon(chain.root.remote().call::<()>(name, ())).await.expect_err("no name");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No), "{failure}");
        assert!(failure.message.contains("name"), "{failure}");
    }
    assert_eq!(chain.client().counters().sent.calls, 0);
    let failure = soon(chain.root.remote().call::<()>(&long[1..], ())).await.expect_err("no method");
    assert_eq!(failure.kind, FailureKind::Unimplemented, "the longest name goes over: {failure}");
    chain.finish().await;
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_and_a_late_one_ended() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let nobody: Vec<NodeRef> = Vec::new();
        let hung: Deferred<u64> = chain.root.remote().call("hang", (nobody.clone(),));
        pb_tests::live::until(|| chain.world.started().len() == 1, || "it starts".into()).await;
        drop(hung);
        pb_tests::live::until(|| chain.world.stopped() == 1, || "it is stopped".into()).await;
        let short = chain.root.within(Duration::from_millis(20));
        let late = soon(short.remote().call::<u64>("hang", (nobody,))).await.expect_err("too late");
        assert_eq!(late.kind, FailureKind::DeadlineExceeded);
        pb_tests::live::until(|| chain.world.stopped() == 2, || "it is stopped".into()).await;
        chain.root.remote().call::<()>("note", (3u64,)).detach();
        pb_tests::live::until(|| chain.world.started().len() == 3, || "a detached one runs".into()).await;
        drop(short);
        chain.finish().await;
    }
}

/// Cannot be written, or, as 1, not be read.
#[derive(Debug, PartialEq)]
struct Stubborn(u8);

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => Err(serde::ser::Error::custom("nought is not written")),
            n => serializer.serialize_u8(n),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Err(serde::de::Error::custom("one is not read")),
            2 if !pb_core::wire::shape::tracing() => panic!("intended: read"),
            n => Ok(Stubborn(n)),
        }
    }
}

#[remote_interface]
trait Shop {
    async fn order(
        &self,
        what: String,
        #[remote(default)] count: u32,
        #[remote(default)] note: String,
    ) -> String;
    async fn take(&self, value: Stubborn) -> Stubborn;
    async fn name(&self) -> String;
    async fn any(&self, any: AnyRef) -> AnyRef;
}

#[remote_interface]
trait Door {
    async fn name(&self) -> String;
}

#[derive(Referenceable)]
#[referenceable(Door)]
struct MyShop;

impl Shop for MyShop {
    async fn order(&self, what: String, count: u32, note: String) -> String {
        format!("{count} {what} {note}")
    }
    async fn take(&self, value: Stubborn) -> Stubborn {
        value
    }
    async fn name(&self) -> String {
        "the shop's".into()
    }
    async fn any(&self, any: AnyRef) -> AnyRef {
        any
    }
}

impl Door for MyShop {
    async fn name(&self) -> String {
        "the door's".into()
    }
}

/// The shop here, and from a client's side; what holds the connection.
async fn shops() -> ([ShopRef; 2], impl Sized) {
    let shop = ShopRef::new(MyShop);
    let (server, client) = pair(shop.clone()).await;
    ([shop, client.root()], (server, client))
}

#[tokio::test]
async fn arguments_with_defaults_may_be_left_out() {
    let (shops, _held) = shops().await;
    for shop in shops {
        let orders = [
            shop.remote().call::<String>("order", (text("bread"),)),
            shop.remote().call::<String>("order", (text("bread"), 2u32)),
            shop.remote().call::<String>("order", (text("bread"), 2u32, text("sliced"))),
        ];
        let found = soon(futures::future::try_join_all(orders)).await;
        assert_eq!(found, Ok(vec![text("0 bread "), text("2 bread "), text("2 bread sliced")]));
        let none = soon(shop.remote().call::<String>("order", ())).await.expect_err("bread is needed");
        assert_eq!(none.kind, FailureKind::Incompatible);
    }
}

#[tokio::test]
async fn a_bare_name_of_two_interfaces_is_ambiguous_and_each_full_one_is_not() {
    let (shops, _held) = shops().await;
    for shop in shops {
        let failure = soon(any(&shop).remote().call::<String>("name", ())).await.expect_err("which");
        assert!(failure.message.contains("ambiguous"), "{failure}");
        assert_eq!(soon(shop.remote().call("name", ())).await, Ok(text("the shop's")));
        assert_eq!(soon(shop.remote().call("Door/name", ())).await, Ok(text("the door's")));
        assert_eq!(soon(any(&shop).remote().call("Shop/name", ())).await, Ok(text("the shop's")));
        let failure = soon(shop.remote().call::<String>("Window/name", ())).await.expect_err("no window");
        assert_eq!(failure.kind, FailureKind::Unimplemented);
    }
}

#[tokio::test]
async fn what_is_not_written_or_read_fails_its_call_alone() {
    let (shops, _held) = shops().await;
    for shop in shops {
        let take = |n| shop.remote().call::<Stubborn>("take", (Stubborn(n),));
        let failure = soon(take(0)).await.expect_err("not written");
        assert!(failure.message.contains("nought is not written"), "{failure}");
        let failure = soon(take(1)).await.expect_err("not read");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No));
        let failure = soon(take(2)).await.expect_err("it panics");
        assert_eq!(failure.kind, FailureKind::Internal, "{failure}");
        assert_eq!(soon(take(3)).await, Ok(Stubborn(3)));
    }
}

#[tokio::test]
async fn a_signature_may_have_references_of_any_interface() {
    let (shops, _held) = shops().await;
    for shop in shops {
        let typed = soon(shop.any(any(&shop))).await.expect("given back");
        let by_name = soon(shop.remote().call::<AnyRef>("any", (any(&shop),))).await.expect("given back");
        // Which interface a reference has is not looked at where the signature does not.
        let cast = soon(shop.remote().call::<ShopRef>("any", (any(&shop),))).await.expect("given back");
        assert!(typed.remote().same(&by_name) && cast.remote().same(&typed));
        let method = &ShopRef::interface().methods()[3];
        assert_eq!(method.signature(), "Shop/any(any: @\"\") -> @\"\"");
    }
}
