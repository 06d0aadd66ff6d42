use pb_core::wire::shape::{print, trace};

use crate::*;

#[tokio::test]
async fn a_panic_of_a_method_fails_its_call_only() {
    let attacked = Attacked::start().await;
    let broker = pb_client::connect(&attacked.url).await.expect("connected");
    let target: TargetRef = broker.root();
    let failure = target.panics().await.expect_err("it panics");
    assert_eq!(failure.kind, FailureKind::Internal);
    let mut all = format!("{failure:?}");
    all.push_str(&failure.to_string());
    assert!(!all.contains("secret") && !all.contains(".rs"), "{all}");
    assert_eq!(target.say("alive".to_owned()).await.as_deref(), Ok("alive"));
    drop((target, broker));
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_panic_in_the_drop_of_an_object_ends_nothing() {
    let attacked = Attacked::start().await;
    let broker = pb_client::connect(&attacked.url).await.expect("connected");
    let target: TargetRef = broker.root();
    let bomb = target.bomb().await.expect("a bomb");
    assert_eq!(bomb.touch().await, Ok(2));
    drop(bomb); // Released, and dropped there.
    assert_eq!(target.say("alive".to_owned()).await.as_deref(), Ok("alive"));
    drop(target.bomb()); // Cancelled, or dropped with its answer.
    assert_eq!(target.say("alive".to_owned()).await.as_deref(), Ok("alive"));
    let kept = [target.bomb().await, target.bomb().await];
    assert!(kept.iter().all(Result::is_ok));
    broker.close(); // Dropped with the connection.
    assert!(target.say("late".to_owned()).await.is_err());
    drop((kept, target, broker));
    attacked.serves_on().await;
}

/// Calls the server back until it has gone deep enough.
#[derive(Referenceable)]
struct Mirror {
    target: TargetRef,
}

impl Partner for Mirror {
    async fn bounce(&self, depth: u32) -> u32 {
        match depth {
            0 => 0,
            depth => {
                let partner = PartnerRef::new(Mirror { target: self.target.clone() });
                self.target.bounce(depth - 1, partner).await.map_or(0, |deeper| deeper + 1)
            }
        }
    }
}

#[tokio::test]
async fn calls_back_and_forth_do_not_block_each_other() {
    let attacked = Attacked::start().await;
    let broker = pb_client::connect(&attacked.url).await.expect("connected");
    let target: TargetRef = broker.root();
    let partner = || PartnerRef::new(Mirror { target: target.clone() });
    assert_eq!(target.bounce(300, partner()).await, Ok(300));
    let all = (0..20).map(|_| target.bounce(10, partner()));
    for depth in futures::future::join_all(all).await {
        assert_eq!(depth, Ok(10));
    }
    // Deeper than the calls that are granted: it fails somewhere, and nothing blocks.
    let deep = target.bounce(5000, partner()).await.expect("it comes back");
    assert!(deep >= 1000, "{deep}");
    drop((target, broker));
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_method_that_failed_says_why_in_its_own_words() {
    let attacked = Attacked::start().await;
    let broker = pb_client::connect(&attacked.url).await.expect("connected");
    let target: TargetRef = broker.root();
    assert_eq!(target.fail().await.err(), Some(CallError::App("no such thing".to_owned())));
    drop((target, broker));
    attacked.serves_on().await;
}

#[tokio::test]
async fn references_that_a_gone_peer_left_behind_are_broken_and_nothing_is_kept_for_it() {
    let attacked = Attacked::start().await;
    let mut raw = attacked.greeted().await;
    for n in 1..=100 {
        let keep = with_caps(bytes_call(n, "Target/keep", &[0][..]), [Cap::Mine(ExportId(-n))]);
        raw.message(&Message::Call(keep)).await;
        assert!(outcome(raw.answer().await).is_ok());
    }
    assert_eq!(raw.finish().await, []);
    attacked.serves_on().await;
}

/// The calls of one peer, numbered as they go.
struct Session {
    raw: Raw,
    last: i64,
    defined: Vec<&'static str>,
}

impl Session {
    /// Sends a call of the root's method and returns its result's id.
    async fn call(
        &mut self,
        reply: Reply,
        method: &'static str,
        arguments: &impl Serialize,
        cap: Option<Cap>,
    ) -> i64 {
        self.last += 1;
        let mut call = with_caps(Call { reply, ..call(self.last, method, arguments) }, cap);
        match self.defined.iter().position(|known| *known == method) {
            Some(at) => call.method = MethodName::Known(at as u32 + 1),
            None => self.defined.push(method),
        }
        self.raw.message(&Message::Call(call)).await;
        self.last
    }

    /// Reads answers until one brings an object.
    async fn object(&mut self) -> i64 {
        loop {
            match self.raw.answer().await {
                Some(Message::Resolve(resolve)) => match resolve.payload.caps[..] {
                    [Cap::Mine(id)] => return id.0,
                    [] => {}
                    _ => panic!("{resolve:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
    }

    async fn release(&mut self, ids: &[i64]) {
        let mentions = ids.iter().map(|id| (ImportId(*id), 1)).collect();
        self.raw.message(&Message::Release(Release { mentions })).await;
    }

    /// Reads answers until that to call `result`.
    async fn answer_to(&mut self, result: i64) -> Message {
        loop {
            match self.raw.answer().await.expect("the connection lives") {
                Message::Resolve(resolve) if resolve.export.0 == result => return Message::Resolve(resolve),
                Message::Reject(reject) if reject.export.0 == result => return Message::Reject(reject),
                _ => {}
            }
        }
    }
}

/// Each promise resolves to the next one, which is not settled then: the server holds them all by the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_chain_of_promises_is_followed_and_dropped() {
    const LENGTH: u32 = 20_000;
    let attacked = Attacked::start().await;
    let mut peer = Session { raw: attacked.greeted().await, last: 0, defined: Vec::new() };
    let mut taken = peer.call(Reply::Reference, "Target/take", &0u32, None).await;
    let mut chain = None;
    for number in 0..LENGTH {
        let next = peer.call(Reply::Reference, "Target/take", &(number + 1), None).await;
        let cap = Some(Cap::Yours(ImportId(next)));
        peer.call(Reply::Value, "Target/put", &(number, 0u8), cap).await;
        let promise = peer.object().await;
        match chain {
            None => chain = Some(promise),
            Some(_) => peer.release(&[promise]).await,
        }
        peer.release(&[taken]).await;
        taken = next;
    }
    let chain = chain.expect("a first promise");
    peer.call(Reply::Reference, "Target/open", &(), None).await;
    let thing = peer.object().await;
    peer.call(Reply::Value, "Target/put", &(LENGTH, 0u8), Some(Cap::Yours(ImportId(thing)))).await;
    peer.last += 1;
    let touch = Call { target: ImportId(chain), ..call(peer.last, "Thing/touch", &()) };
    peer.raw.message(&Message::Call(touch)).await;
    assert_eq!(outcome(Some(peer.answer_to(peer.last).await)).as_deref(), Ok(&[1][..]));
    let echo = peer.call(Reply::Reference, "Target/echo", &0u8, Some(Cap::Yours(ImportId(chain)))).await;
    assert!(outcome(Some(peer.answer_to(echo).await)).is_ok());
    peer.release(&[chain]).await;
    peer.raw.message(&Message::Ping(Ping { nonce: 1 })).await;
    while peer.raw.answer().await.expect("the connection lives") != Message::Pong(Ping { nonce: 1 }) {}
    attacked.serves_on().await;
}

/// What a caller of `say` gets that names it with these prints.
async fn said(name: &str, fewest: u32, prints: &[u64]) -> Result<(), FailureKind> {
    let attacked = Attacked::start().await;
    let mut raw = attacked.greeted().await;
    let text = MethodText { name: name.into(), fewest, prints: prints.into() };
    let say = Call { method: MethodName::Defined(Arc::new(text)), ..call(1, "", &"x") };
    raw.message(&Message::Call(say)).await;
    let said = match raw.answer().await {
        Some(Message::Resolve(_)) => Ok(()),
        Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) => Err(failure.kind),
        other => panic!("no answer, but {other:?}"),
    };
    drop(raw);
    attacked.serves_on().await;
    said
}

#[tokio::test]
async fn a_method_is_compared_by_the_print_of_its_whole_name_however_it_is_named() {
    let text = trace::<String>();
    let print = |name: &str| print(name, std::slice::from_ref(&text), &text, None);
    let (whole, bare) = (print("Target/say"), print("say"));
    assert_eq!(said("Target/say", 1, &[whole]).await, Ok(()));
    assert_eq!(said("say", 1, &[whole]).await, Ok(()));
    assert_eq!(said("say", 1, &[bare]).await, Err(FailureKind::Incompatible));
    assert_eq!(said("say", 0, &[bare, whole]).await, Ok(()), "the second print is of one argument");
    assert_eq!(said("say", 0, &[whole]).await, Err(FailureKind::Incompatible), "and the first of none");
    for fewest in [0, 1, 7, u32::MAX] {
        assert_eq!(said("say", fewest, &[]).await, Ok(()), "without prints nothing is compared");
    }
}
