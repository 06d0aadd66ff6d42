//! What a peer sent in one write is done in the order in which it sent it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use pb_core::message::*;
use pb_core::wire::frame;
use pb_core::{Bytes, Limits};
use pb_server::{Referenceable, remote_interface};
use pb_tests::quiet::Quiet;

#[remote_interface]
trait Progress {
    #[remote(oneway)]
    async fn step(&self);
}

#[remote_interface]
trait Worker {
    async fn work(&self, progress: ProgressRef);
}

#[derive(Referenceable)]
struct Steps(Arc<AtomicU64>);

impl Progress for Steps {
    async fn step(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Notes how many steps had been told when it was woken.
struct Seen {
    steps: Arc<AtomicU64>,
    when_woken: AtomicU64,
}

impl Wake for Seen {
    fn wake(self: Arc<Self>) {
        self.when_woken.fetch_max(self.steps.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// Progress that was told before the result is known before the result, though both came in one read.
#[tokio::test(start_paused = true)]
async fn a_cast_that_came_before_an_answer_is_started_before_the_answer_is_told() {
    const STEPS: u64 = 5;
    let (broker, mut peer) = Quiet::greeted(None, Limits::default()).await;
    let steps = Arc::new(AtomicU64::new(0));
    let mut done = broker.root::<WorkerRef>().work(ProgressRef::new(Steps(Arc::clone(&steps))));
    let call = loop {
        match peer.read().await.expect("a call") {
            Message::Call(call) => break call,
            Message::Hello(_) => {}
            other => panic!("{other:?} came"),
        }
    };
    let [Cap::Mine(id)] = call.payload.caps[..] else { panic!("{:?} were passed", call.payload.caps) };
    let seen = Arc::new(Seen { steps: Arc::clone(&steps), when_woken: AtomicU64::new(0) });
    let waker = Waker::from(Arc::clone(&seen));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut done).poll(&mut cx).is_pending());
    let step = Message::<Bytes>::Cast(Cast {
        target: ImportId(id.0),
        method: MethodName::Once(Arc::new(MethodText {
            name: "Progress/step".into(),
            fewest: 0,
            prints: Box::default(),
        })),
        options: None,
        payload: Payload::default(),
    });
    let mut out = Vec::new();
    (0..STEPS).for_each(|_| frame::encode(&step, &mut out));
    frame::encode(
        &Message::<Bytes>::Resolve(Resolve { export: ExportId(call.result.0), payload: Payload::default() }),
        &mut out,
    );
    peer.send(&out).await;
    while seen.when_woken.load(Ordering::SeqCst) == 0 && steps.load(Ordering::SeqCst) < STEPS {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.when_woken.load(Ordering::SeqCst), STEPS);
    assert!(matches!(Pin::new(&mut done).poll(&mut cx), Poll::Ready(Ok(()))));
}
