//! Calls by description: values in the place of types, on typed objects, here, over connections and through middlemen.

use std::time::Duration;

use pb_core::message::*;
use pb_core::wire::body;
use pb_core::{
    AnyRef, ArgumentError, CallError, Description, Given, InterfaceDescription, Invoked, MethodDescription,
    Misfit, Plain, Problem, Referenceable, Shape, Stub, Value, remote_interface,
};
use pb_server::pair;
use pb_tests::live::{Chain, NodeRef, Over, soon, until};
use pb_tests::raw::{Raw, hello};
use tokio::net::TcpListener;

/// In one process, over one connection, and through two middlemen.
const WAYS: [usize; 3] = [0, 1, 3];

fn any(stub: &impl Stub) -> AnyRef {
    stub.remote_any()
}

trait Any: Stub {
    fn remote_any(&self) -> AnyRef {
        AnyRef::from_reference(self.as_reference().clone())
    }
}

impl<S: Stub> Any for S {}

/// What the object says of itself.
async fn described(object: &AnyRef) -> Description {
    soon(object.remote().describe()).await.expect("it tells")
}

fn invoke(object: &AnyRef, description: &Description, method: &str, given: impl Into<Given>) -> Invoked {
    object.remote().invoke(description.method(method).expect("it has that"), given)
}

#[tokio::test]
async fn a_typed_object_is_called_by_its_description_alone() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let root = any(&chain.root);
        let node = described(&root).await;
        assert_eq!(soon(invoke(&root, &node, "say", (7,))).await, Ok(Value::Int(7)));
        assert_eq!(soon(invoke(&root, &node, "Node/say", [("n", 8)])).await, Ok(Value::Int(8)));
        assert_eq!(soon(invoke(&root, &node, "name", ())).await, Ok("root".into()));
        assert_eq!(soon(invoke(&root, &node, "note", (9,))).await, Ok(Value::Unit), "answered all the same");
        assert_eq!(chain.world.started(), ["root.say(7)", "root.say(8)", "root.note(9)"]);
        drop(root);
        chain.finish().await;
    }
}

#[tokio::test]
async fn references_go_both_ways_at_any_depth_and_come_home() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let root = any(&chain.root);
        let node = described(&root).await;
        let own = any(&chain.world.node("own"));
        let echoed = soon(invoke(&root, &node, "echo", (own.clone(),))).await.expect("echoed");
        assert_eq!(echoed, Value::Reference(own.clone()));
        let many = Value::from(vec![own.clone().into(), root.clone().into(), own.clone().into()]);
        assert_eq!(soon(invoke(&root, &node, "keep", (many,))).await, Ok(Value::Unit));
        assert_eq!(soon(invoke(&root, &node, "kept", ())).await, Ok(Value::Reference(own.clone())));
        assert_eq!(soon(invoke(&root, &node, "forget", ())).await, Ok(Value::Unit));
        let made = soon(invoke(&root, &node, "many", (2,))).await.expect("made");
        let Value::List(made) = made else { panic!("{made:?}") };
        let stub: NodeRef = made[1].reference().expect("it is one");
        assert_eq!(soon(stub.say(1)).await, Ok(1));
        assert!(made[0].reference::<NodeRef>().is_some() && Value::Unit.reference::<NodeRef>().is_none());
        drop((root, own, echoed, made, stub));
        chain.finish().await;
    }
}

#[tokio::test]
async fn calls_on_promised_results_take_one_round_trip() {
    let chain = Chain::over(Over::Tcp, 2, Default::default()).await;
    let root = any(&chain.root);
    let node = described(&root).await;
    chain.hold_answers();
    let opened = invoke(&root, &node, "open", ("a",));
    let a = opened.promised().expect("it gives one");
    let told = invoke(&root, &node, "tell", (a.clone(), 5));
    let deeper = invoke(&a, &node, "open", ("b",)).promised().expect("it gives one");
    let said = invoke(&deeper, &node, "say", (6,));
    let typed = deeper.remote().cast::<NodeRef>().say(7);
    until(|| chain.world.started().len() == 5, || format!("{:?}", chain.world.started())).await;
    chain.let_answers_go();
    assert_eq!(soon(told).await, Ok(Value::Int(5)));
    assert_eq!(soon(said).await, Ok(Value::Int(6)));
    assert_eq!(soon(typed).await, Ok(7));
    assert!(matches!(soon(opened).await, Ok(Value::Reference(_))));
    assert!(invoke(&root, &node, "name", ()).promised().is_none());
    drop((root, a, deeper));
    chain.finish().await;
}

#[tokio::test]
async fn a_methods_own_error_is_a_value_too_and_breaks_what_was_promised() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let root = any(&chain.root);
        let node = described(&root).await;
        let failed = invoke(&root, &node, "fail", ("no",));
        let promised = failed.promised().expect("it would give one");
        let on_it = invoke(&promised, &node, "say", (1,));
        let said = Value::variant("Said", Value::record([("text", "no".into()), ("cents", 7.into())]));
        assert_eq!(soon(failed).await, Err(CallError::App(said)));
        let Err(CallError::Broker(failure)) = soon(on_it).await else { panic!("there is nothing to call") };
        assert_eq!(failure.kind, FailureKind::Broken);
        // By a description that does not tell of errors.
        let mut silent = node.method("fail").expect("it has one").clone();
        silent.err = None;
        let Err(CallError::Broker(failure)) = soon(root.remote().invoke(&silent, ("no",))).await else {
            panic!("another signature")
        };
        assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::No));
        drop((root, promised));
        chain.finish().await;
    }
}

#[remote_interface]
trait Shop {
    async fn order(
        &self,
        what: Order,
        #[remote(default)] count: u32,
        #[remote(default)] note: Option<String>,
    ) -> String;
}

#[derive(serde::Serialize, serde::Deserialize, Debug)]
struct Order {
    lines: Vec<(u8, bool)>,
}

#[derive(Referenceable)]
struct MyShop;

impl Shop for MyShop {
    async fn order(&self, what: Order, count: u32, note: Option<String>) -> String {
        format!("{} {count} {note:?}", what.lines.len())
    }
}

fn order() -> Value {
    Value::record([("lines", vec![Value::Tuple(vec![1.into(), true.into()])].into())])
}

#[tokio::test]
async fn arguments_stand_in_order_or_by_name_and_defaults_may_be_left_out() {
    let (_server, client) = pair(ShopRef::new(MyShop)).await;
    for shop in [any(&ShopRef::new(MyShop)), client.root()] {
        let of_shop = described(&shop).await;
        let answer =
            async |given: Given| soon(invoke(&shop, &of_shop, "order", given)).await.expect("it runs");
        assert_eq!(answer((order(),).into()).await, "1 0 None".into());
        assert_eq!(answer((order(), 2).into()).await, "1 2 None".into());
        assert_eq!(answer((order(), 2, "n").into()).await, "1 2 Some(\"n\")".into());
        assert_eq!(answer([("what", order())].into()).await, "1 0 None".into());
        assert_eq!(answer([("count", Value::from(3)), ("what", order())].into()).await, "1 3 None".into());
        let all = [("note", Value::from("n")), ("count", 3.into()), ("what", order())];
        assert_eq!(answer(all.into()).await, "1 3 Some(\"n\")".into());
    }
}

#[tokio::test]
async fn wrong_arguments_are_told_by_name_place_and_type_and_nothing_is_sent() {
    let (_server, client) = pair(ShopRef::new(MyShop)).await;
    let shop: AnyRef = client.root();
    let of_shop = described(&shop).await;
    let sent = client.counters().sent.calls;
    let bad_line = Value::record([("lines", vec![Value::Tuple(vec![1.into(), "yes".into()])].into())]);
    let signature =
        "Shop/order(what: {lines:[(u8,bool)]}, count: u32 = default, note: ?str = default) -> str";
    let none = || Given::InOrder(Vec::new());
    let four = || Given::InOrder(vec![Value::Unit; 4]);
    let cases: [(Given, String); 8] = [
        (none(), format!("Shop/order takes 1 to 3 arguments, 0 were given; it is {signature}")),
        (four(), format!("Shop/order takes 1 to 3 arguments, 4 were given; it is {signature}")),
        (
            (order(), "two").into(),
            "argument 2 of Shop/order, `count`: expected u32, found the text \"two\"".into(),
        ),
        (
            (bad_line,).into(),
            "argument 1 of Shop/order, `what`: lines[0][1]: expected bool, found the text \"yes\"".into(),
        ),
        ([("cuont", 1)].into(), format!("Shop/order has no argument `cuont`; it is {signature}")),
        ([("count", 1), ("count", 1)].into(), "the argument `count` of Shop/order is given twice".into()),
        (
            [("count", 1)].into(),
            "argument 1 of Shop/order, `what`, is missing: expected Order{lines:[(u8,bool)]}".into(),
        ),
        (
            [("note", Value::from("n")), ("what", order())].into(),
            "argument 2 of Shop/order, `count`, is missing: expected u32".into(),
        ),
    ];
    let method = of_shop.method("order").expect("it has one");
    for (given, words) in cases {
        let error = method.check_arguments(given.clone()).expect_err(&words);
        assert_eq!(error.to_string(), words);
        let Err(CallError::Broker(failure)) = soon(shop.remote().invoke(method, given)).await else {
            panic!("{words}")
        };
        assert_eq!((failure.kind, failure.ran, &*failure.message), (FailureKind::Failed, Ran::No, &*words));
    }
    assert_eq!(client.counters().sent.calls, sent);
    let expected = ArgumentError::Misfit {
        method: "Shop/order".into(),
        position: 2,
        name: "count".into(),
        misfit: Box::new(Misfit {
            path: String::new(),
            problem: Problem::Unexpected { expected: "u32".into(), found: "-1".into() },
        }),
    };
    assert_eq!(method.check_arguments((order(), -1)), Err(expected));
    assert_eq!(method.check_arguments((order(), 1)), Ok(()));
}

#[tokio::test]
async fn a_description_of_another_object_is_incompatible_and_never_garbage() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let root = any(&chain.root);
        // As encoded, -5 as i64 is 9 as u64.
        let other = MethodDescription::new("Node/say", Shape::Plain(Plain::U64))
            .argument("n", Shape::Plain(Plain::I64));
        let Err(CallError::Broker(failure)) = soon(root.remote().invoke(&other, (-5,))).await else {
            panic!("another signature")
        };
        assert_eq!((failure.kind, failure.ran), (FailureKind::Incompatible, Ran::No));
        assert!(failure.message.contains("Node/say(n: u64)") && failure.message.contains("Node/say(i64)"));
        let missing = MethodDescription::new("Node/nothing", Shape::Plain(Plain::Unit));
        let Err(CallError::Broker(failure)) = soon(root.remote().invoke(&missing, ())).await else {
            panic!("no such method")
        };
        assert_eq!(failure.kind, FailureKind::Unimplemented);
        let broker = MethodDescription::new("$named", Shape::Plain(Plain::Unit));
        let Err(CallError::Broker(failure)) = soon(root.remote().invoke(&broker, ())).await else {
            panic!("the broker's")
        };
        assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No));
        assert_eq!(chain.world.started(), [""; 0]);
        drop(root);
        chain.finish().await;
    }
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_a_detached_one_runs_and_a_late_one_fails() {
    for links in WAYS {
        let chain = Chain::of(links).await;
        let root = any(&chain.root);
        let node = described(&root).await;
        let nobody = || Given::InOrder(vec![Value::List(Vec::new())]);
        let mut hung = invoke(&root, &node, "hang", nobody());
        assert!(futures::poll!(&mut hung).is_pending());
        until(|| chain.world.started().len() == 1, || "it starts".into()).await;
        drop(hung);
        until(|| chain.world.stopped() == 1, || "it is stopped".into()).await;
        invoke(&root, &node, "say", (1,)).detach();
        until(|| chain.world.started().len() == 2, || "it runs".into()).await;
        let short = root.within(Duration::from_millis(20));
        let Err(CallError::Broker(failure)) = soon(invoke(&short, &node, "hang", nobody())).await else {
            panic!("it hangs")
        };
        assert_eq!(failure.kind, FailureKind::DeadlineExceeded);
        until(|| chain.world.stopped() == 2, || "it is stopped".into()).await;
        drop((root, short));
        chain.finish().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_described_is_incompatible_and_the_connection_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    let units = Shape::Array(Box::new(Shape::Plain(Plain::Unit)), u32::MAX);
    let described = Description::new([InterfaceDescription::new(
        "A",
        "",
        [
            MethodDescription::new("A/text", Shape::Plain(Plain::Text)).error(Shape::Plain(Plain::Bool)),
            MethodDescription::new("A/units", units),
        ],
    )]);
    let caller = tokio::spawn(async move {
        let broker = pb_client::connect(&url).await.expect("it is accepted");
        let object: AnyRef = broker.root();
        let description = object.remote().describe().await.expect("it tells");
        let mut failures = Vec::new();
        for method in ["text", "text", "text", "units"] {
            match object.remote().invoke(description.method(method).expect("it has that"), ()).await {
                Err(CallError::Broker(failure)) => failures.push(failure),
                other => panic!("{other:?}"),
            }
        }
        let last = object.remote().invoke(description.method("text").expect("it has that"), ()).await;
        (failures, last)
    });
    let mut server = Raw::accept(&listener).await;
    server.send(&pb_core::wire::frame::MAGIC).await;
    server.message(&hello()).await;
    let mut body = Vec::new();
    body::encode(&described, &mut body).expect("it can be");
    let ok = |id, body: &[u8]| {
        let payload = Payload { caps: Vec::new(), body: body.to_vec().into() };
        Message::Resolve(Resolve { export: ExportId(id), payload })
    };
    let app = |id, body: &[u8]| {
        let payload = Payload { caps: Vec::new(), body: body.to_vec().into() };
        Message::Reject(Reject { export: ExportId(id), rejection: Rejection::App(payload) })
    };
    // A text that ends too early, one with a byte behind it, an error that is no bool, and units without end.
    let answers =
        [ok(1, &body), ok(2, b"\x05hi"), ok(3, b"\x02hi!"), app(4, b"\x07"), ok(5, b""), ok(6, b"\x02hi")];
    for answer in answers {
        let Some(Message::Call(_)) = server.answer().await else { panic!("the next call") };
        server.message(&answer).await;
    }
    let (failures, last) = soon(caller).await.expect("it ends");
    assert!(
        failures.iter().all(|failure| (failure.kind, failure.ran) == (FailureKind::Incompatible, Ran::Yes))
    );
    assert_eq!(last, Ok("hi".into()));
}
