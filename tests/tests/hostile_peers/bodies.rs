use crate::*;

/// Sends calls whose bodies are wrong; each fails alone, and a good one behind them is answered.
async fn all_fail(limits: Limits, calls: Vec<Call>) {
    let attacked = Attacked::with(limits).await;
    let mut raw = attacked.greeted().await;
    let count = calls.len() as i64;
    for call in calls {
        let result = call.result;
        raw.message(&Message::Call(call)).await;
        let kind = outcome(raw.answer().await).expect_err("the body is wrong");
        assert_eq!(kind, FailureKind::Failed, "call {result}");
    }
    raw.message(&Message::Call(call(count + 1, "Target/say", &"still here"))).await;
    assert!(outcome(raw.answer().await).is_ok());
    attacked.serves_on().await;
}

fn nested(levels: usize) -> Vec<u8> {
    // A list of one list of one list …, and a leaf.
    let mut body = [1, 1].repeat(levels);
    body.extend([0, 7]);
    body
}

#[tokio::test]
async fn values_nested_too_deep_fail_their_call() {
    let limits = Limits { frame_bytes: 4 << 20, call_bytes: 8 << 20, budget: 8 << 20, ..Limits::default() };
    let levels = [65, 10_000, 1_000_000];
    let calls = (1..).zip(levels).map(|(n, levels)| bytes_call(n, "Target/nest", nested(levels)));
    all_fail(limits, calls.collect()).await;
    let attacked = Attacked::start().await;
    let mut raw = attacked.greeted().await;
    raw.message(&Message::Call(bytes_call(1, "Target/nest", nested(20)))).await;
    assert_eq!(outcome(raw.answer().await).as_deref(), Ok(&[20][..]));
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_list_that_claims_more_than_it_brings_fails_its_call() {
    // 253 and eight bytes: the count as 64 bits.
    let claims = [1u64 << 33, 1 << 40, u64::MAX].map(|count| {
        let mut body = vec![253];
        body.extend(count.to_le_bytes());
        body.extend([1, 2, 3]);
        body
    });
    let methods = ["Target/numbers", "Target/say", "Target/nest"];
    let calls = (1..).zip(claims.iter().flat_map(|claim| methods.map(|method| (method, claim)))).map(
        |(n, (method, claim))| {
            let mut body = claim.clone();
            if method == "Target/nest" {
                body.insert(0, 1);
            }
            bytes_call(n, method, body)
        },
    );
    all_fail(Limits::default(), calls.collect()).await;
}

#[tokio::test]
async fn elements_without_bytes_are_counted() {
    let mut body = vec![253];
    body.extend((1u64 << 36).to_le_bytes());
    all_fail(Limits::default(), vec![bytes_call(1, "Target/units", body)]).await;
}

#[tokio::test]
async fn a_text_that_is_not_utf_8_fails_its_call() {
    let texts: [&[u8]; 4] = [&[2, 0xc3, 0x28], &[1, 0xff], &[3, 0xed, 0xa0, 0x80], &[4, b'a']];
    let calls = (1..).zip(texts).map(|(n, text)| bytes_call(n, "Target/say", text));
    all_fail(Limits::default(), calls.collect()).await;
}

#[tokio::test]
async fn bytes_left_over_behind_the_arguments_fail_the_call() {
    all_fail(Limits::default(), vec![bytes_call(1, "Target/say", &b"\x02hi?"[..])]).await;
}

#[tokio::test]
async fn names_of_methods_are_short_utf_8_without_control_characters() {
    let attacked = Attacked::start().await;
    let long = "x".repeat(1 << 19);
    for name in [&long[..257], &long, "Target/say\n", "Target/\u{1b}[31msay", "a\0b", ""] {
        let abort = attacked.abort_for_messages(&[Message::Call(call(1, name, &"x"))]).await;
        assert_eq!(abort.code, AbortCode::Malformed);
        assert!(!abort.reason.contains(['\n', '\u{1b}', '\0']), "{abort:?}");
    }
    // Not UTF-8: call, no capabilities, no flags, target 0, result 1, a definition, two bytes of name.
    let frame = framed(&[2, 0, 0, 0, 1, 0, 2, 0xc3, 0x28, 0, 0]);
    assert_eq!(attacked.abort_for(&frame).await.code, AbortCode::Malformed);
    let mut raw = attacked.greeted().await;
    raw.message(&Message::Call(call(1, &long[..256], &"x"))).await;
    assert_eq!(outcome(raw.answer().await), Err(FailureKind::Unimplemented));
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_message_names_at_most_1024_capabilities() {
    let attacked = Attacked::start().await;
    let many = |count| with_caps(call(1, "Target/say", &"x"), vec![Cap::Mine(ExportId(-1)); count]);
    let abort = attacked.abort_for_messages(&[Message::Call(many(1025))]).await;
    assert_eq!(abort.code, AbortCode::Malformed);
    attacked.serves_on().await;
}

#[tokio::test]
async fn one_capability_named_often_is_released_as_often() {
    let attacked = Attacked::start().await;
    let mut raw = attacked.greeted().await;
    let mut released = 0;
    for n in 1..=20 {
        let caps = vec![Cap::Mine(ExportId(-n)); 1024];
        raw.message(&Message::Call(with_caps(call(n, "Target/say", &"x"), caps))).await;
    }
    while released < 20 * 1024 {
        match raw.answer().await {
            Some(Message::Release(release)) => {
                released += release.mentions.iter().map(|entry| entry.1).sum::<u64>()
            }
            Some(Message::Resolve(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    raw.message(&Message::Ping(Ping { nonce: 1 })).await;
    assert_eq!(raw.answer().await, Some(Message::Pong(Ping { nonce: 1 })), "and no more of it");
    attacked.serves_on().await;
}

#[tokio::test]
async fn an_index_without_a_capability_fails_its_call_and_unused_capabilities_are_released() {
    let attacked = Attacked::start().await;
    let mut raw = attacked.greeted().await;
    // One reference at index 7, where one capability stands.
    let wrong = with_caps(bytes_call(1, "Target/things", &[1, 7][..]), [Cap::Mine(ExportId(-1))]);
    raw.message(&Message::Call(wrong)).await;
    let (mut failed, mut released) = (false, false);
    while !(failed && released) {
        match raw.answer().await {
            Some(Message::Release(release)) => {
                assert_eq!(release.mentions, [(ImportId(-1), 1)]);
                released = true;
            }
            answer => {
                assert_eq!(outcome(answer), Err(FailureKind::Failed));
                failed = true;
            }
        }
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn an_answer_over_the_callers_limit_is_a_failure_that_says_it_ran() {
    let attacked = Attacked::start().await;
    let mut raw = Raw::connect(&attacked.url).await;
    raw.send(&MAGIC).await;
    raw.message(&Message::Hello(Hello { versions: (1, 1), features: 0, grants: Grants::MINIMUM })).await;
    for (n, bytes) in [(1, 1u32 << 20), (2, 200 << 20), (3, 4096)] {
        raw.message(&Message::Call(call(n, "Target/large", &bytes))).await;
        match raw.answer().await {
            Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) => {
                assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::Yes));
            }
            other => panic!("{other:?}"),
        }
    }
    raw.message(&Message::Call(call(4, "Target/large", &1000u32))).await;
    assert_eq!(outcome(raw.answer().await).map(|body| body.len()), Ok(1003));
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_chain_of_calls_on_a_failed_one_is_answered_with_the_first_failure() {
    let attacked = Attacked::start().await;
    let mut raw = attacked.greeted().await;
    raw.message(&Message::Call(Call { reply: Reply::Reference, ..call(1, "Target/fail", &()) })).await;
    let echo = |n: i64| Call {
        reply: Reply::Reference,
        target: ImportId(n - 1),
        ..with_caps(bytes_call(n, "Target/echo", &[0][..]), [Cap::Yours(ImportId(n - 1))])
    };
    for n in 2..=500 {
        raw.message(&Message::Call(echo(n))).await;
    }
    let mut answers = 0;
    while answers < 500 {
        match raw.answer().await {
            Some(Message::Reject(Reject { rejection: Rejection::App(_), .. })) => {}
            Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) => {
                assert_eq!(failure.kind, FailureKind::Broken);
                assert!(matches!(failure.cause.as_deref(), Some(Cause::App(_))), "{failure:?}");
            }
            other => panic!("{other:?}"),
        }
        answers += 1;
    }
    attacked.serves_on().await;
}
