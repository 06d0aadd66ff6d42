//! How large the answers to calls without a trait may be: what the description says, up to a bound, or what the caller does.

use std::sync::Arc;

use pb_core::objects::CallError;
use pb_core::{
    AnyRef, Description, DynamicCall, DynamicObject, Failure, FailureKind, InterfaceDescription, Limits,
    MethodDescription, Plain, Ran, Shape, Value,
};
use pb_server::{Referenceable, Server, remote_interface};
use pb_tests::live::soon;

#[remote_interface]
trait Store {
    async fn read(&self, bytes: u64) -> Vec<u8>;
}

#[derive(Referenceable)]
struct Zeros;

impl Store for Zeros {
    async fn read(&self, bytes: u64) -> Vec<u8> {
        vec![0; bytes as usize]
    }
}

/// The same, that says of itself how much it may answer.
struct Described(u64);

impl DynamicObject for Described {
    fn describe(&self) -> Arc<Description> {
        let mut method = MethodDescription::new("Store/read", Shape::Plain(Plain::Bytes))
            .argument("bytes", Shape::Plain(Plain::U64));
        method.flags.answer_bytes = self.0;
        Arc::new(Description::new([InterfaceDescription::new("Store", "", [method])]))
    }

    async fn call(&self, call: DynamicCall) -> Result<Value, CallError<Value>> {
        match call.arguments[..] {
            [Value::Int(bytes)] => Ok(Value::Bytes(vec![0; bytes as usize])),
            _ => panic!("{:?}", call.arguments),
        }
    }
}

async fn connected(root: AnyRef) -> (pb_server::Running, pb_core::Broker, AnyRef) {
    let limits = Limits { frame_bytes: 8 << 20, budget: 16 << 20, ..Limits::default() };
    let server = Server::new(root).limits(limits).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let running = server.spawn().expect("it listens");
    let connect = pb_client::Connect::to(running.url()).limits(Limits { answer_bytes: 6 << 20, ..limits });
    let client = connect.open().await.expect("connected");
    let store = client.root();
    (running, client, store)
}

fn too_big(failure: &Failure) -> bool {
    failure.ran == Ran::Yes && failure.message.contains("65536")
}

#[tokio::test]
async fn a_call_by_name_takes_as_large_an_answer_as_its_caller_says() {
    let (running, _client, store) = connected(StoreRef::new(Zeros).remote().cast()).await;
    let failure = soon(store.remote().call::<Vec<u8>>("Store/read", (100_000u64,))).await;
    let failure = failure.expect_err("64 KiB are what nobody says anything of");
    assert!(too_big(&failure), "{failure:?}");
    let wide = store.remote().with_answer_bytes(5 << 20);
    let read = soon(wide.remote().call::<Vec<u8>>("Store/read", (5_000_000u64,))).await;
    assert_eq!(read.map(|bytes| bytes.len()), Ok(5_000_000));
    let failure = soon(wide.remote().call::<Vec<u8>>("Store/read", (6_000_000u64,))).await;
    assert_eq!(failure.expect_err("it is more").ran, Ran::Yes);
    let all = store.remote().with_answer_bytes(7 << 20);
    let failure =
        soon(all.remote().call::<Vec<u8>>("Store/read", (1u64,))).await.expect_err("there are 6 MiB");
    assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No));
    assert!(failure.message.contains("this side's answer_bytes are 6291456"), "{failure}");
    let narrow = wide.remote().with_answer_bytes(10);
    assert!(soon(narrow.remote().call::<Vec<u8>>("Store/read", (100u64,))).await.is_err());
    let usual = wide.remote().with_answer_bytes(0);
    assert!(soon(usual.remote().call::<Vec<u8>>("Store/read", (1_000u64,))).await.is_ok());
    running.shutdown().await;
}

#[tokio::test]
async fn a_call_by_description_takes_a_mebibyte_on_its_word_and_more_where_its_caller_says_so() {
    let described = AnyRef::dynamic(Arc::new(Described(4 << 20))).expect("it is sound");
    let (running, _client, store) = connected(described).await;
    let description = soon(store.remote().describe()).await.expect("it is told");
    let read = description.method("read").expect("there is one");
    let sizes = async |store: &AnyRef, bytes: i64| match soon(store.remote().invoke(read, (bytes,))).await {
        Ok(Value::Bytes(bytes)) => Some(bytes.len()),
        Ok(other) => panic!("{other}"),
        Err(_) => None,
    };
    assert_eq!(sizes(&store, 1_000_000).await, Some(1_000_000));
    assert_eq!(sizes(&store, 3_000_000).await, None);
    let wide = store.remote().with_answer_bytes(4 << 20);
    assert_eq!(sizes(&wide, 3_000_000).await, Some(3_000_000));
    let narrow = store.remote().with_answer_bytes(1_000);
    assert_eq!(sizes(&narrow, 500).await, Some(500));
    assert_eq!(sizes(&narrow, 2_000).await, None);
    running.shutdown().await;
}
