//! What calls of objects without a trait cost their own process: nothing that grows with their descriptions.

use std::sync::Arc;

use allocation_counter::measure;
use pb_core::objects::{CallError, Value};
use pb_core::{
    AnyRef, Content, Description, DynamicCall, DynamicObject, Field, InterfaceDescription, MethodDescription,
    Plain, Shape, Variant,
};
use pb_server::{Referenceable, pair, remote_interface};
use tokio::runtime::{Builder, Runtime};

struct Silent(Arc<Description>);

impl DynamicObject for Silent {
    fn describe(&self) -> Arc<Description> {
        Arc::clone(&self.0)
    }
    async fn call(&self, _: DynamicCall) -> Result<Value, CallError<Value>> {
        Ok(Value::Unit)
    }
}

/// With an error of so many variants, of as many fields each.
fn described(size: usize) -> Arc<Description> {
    let field = |at: usize| Field { name: format!("field{at}"), shape: Shape::Plain(Plain::Text) };
    let fields = |_| Content::Struct((0..size).map(field).collect());
    let variant = |at: usize| Variant { name: format!("Variant{at}"), content: fields(at) };
    let error = Shape::Enum("Error".into(), (0..size).map(variant).collect());
    let method = MethodDescription::new("Silent/touch", Shape::Plain(Plain::Unit)).error(error);
    Arc::new(Description::new([InterfaceDescription::new("Silent", "", [method])]))
}

fn object(description: &Arc<Description>) -> AnyRef {
    AnyRef::dynamic(Arc::new(Silent(Arc::clone(description)))).expect("it is sound")
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Allocations of a hundred calls; once has been called before.
fn cost(runtime: &Runtime, object: &AnyRef) -> u64 {
    let calls = |count: usize| {
        runtime.block_on(async {
            for _ in 0..count {
                object.remote().call::<()>("touch", ()).await.expect("it answers");
            }
        });
    };
    calls(3);
    measure(|| calls(100)).count_total
}

#[test]
fn a_call_here_costs_no_more_where_the_description_is_large() {
    let runtime = runtime();
    let [small, large] = [2, 30].map(|size| cost(&runtime, &object(&described(size))));
    assert!(large <= small + 50, "{large} allocations beside {small}");
}

#[remote_interface]
trait Shelf {
    async fn give(&self, at: u64) -> AnyRef;
}

#[derive(Referenceable)]
struct Objects(Vec<AnyRef>);

impl Shelf for Objects {
    async fn give(&self, at: u64) -> AnyRef {
        self.0[at as usize].remote().cast()
    }
}

#[test]
fn a_peers_calls_cost_no_more_on_each_of_many_objects_than_on_the_first() {
    let runtime = runtime();
    for shared in [true, false] {
        let description = described(30);
        let own = || if shared { Arc::clone(&description) } else { described(30) };
        let root = ShelfRef::new(Objects((0..3).map(|_| object(&own())).collect()));
        let (_server, client) = runtime.block_on(pair(root));
        let costs: Vec<_> = (0..3)
            .map(|at| {
                let object = runtime.block_on(client.root::<ShelfRef>().give(at)).expect("it is there");
                cost(&runtime, &object)
            })
            .collect();
        assert!(costs.iter().all(|cost| *cost <= costs[0] + 50), "{costs:?}, shared: {shared}");
    }
}

#[test]
fn objects_that_share_a_description_come_and_go_and_the_next_one_has_its_own() {
    let runtime = runtime();
    for size in 1..50 {
        // Each description may lie where the last one did.
        let (one, other) = {
            let description = described(size);
            (object(&description), object(&description))
        };
        drop(one);
        let told = runtime.block_on(async { other.remote().describe().await }).expect("it tells");
        let error = told.method("touch").expect("there is one").err.clone();
        match error {
            Some(Shape::Enum(_, variants)) => assert_eq!(variants.len(), size),
            other => panic!("{other:?}"),
        }
    }
}
