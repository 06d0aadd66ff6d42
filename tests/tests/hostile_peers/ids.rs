use crate::*;

fn release(mentions: &[(i64, u64)]) -> Message {
    let mentions = mentions.iter().map(|&(id, count)| (ImportId(id), count)).collect();
    Message::Release(Release { mentions })
}

fn open(result: i64) -> Message {
    Message::Call(Call { reply: Reply::Reference, ..call(result, "Target/open", &()) })
}

fn touch(result: i64, target: i64) -> Message {
    Message::Call(Call { target: ImportId(target), ..call(result, "Thing/touch", &()) })
}

#[tokio::test]
async fn a_call_on_a_released_id_is_broken_and_on_one_never_given_ends_the_connection() {
    let attacked = Attacked::start().await;
    let mut raw = attacked.greeted().await;
    raw.message(&open(1)).await;
    assert!(outcome(raw.answer().await).is_ok());
    raw.message(&release(&[(1, 1), (-1, 1)])).await;
    for (n, target) in [(2, -1), (3, 1)] {
        raw.message(&touch(n, target)).await;
        assert_eq!(outcome(raw.answer().await), Err(FailureKind::Broken));
    }
    // A new object takes a new id; the old one stays dead.
    raw.message(&open(4)).await;
    match raw.answer().await {
        Some(Message::Resolve(resolve)) => assert_eq!(resolve.payload.caps, [Cap::Mine(ExportId(-2))]),
        other => panic!("{other:?}"),
    }
    raw.message(&touch(5, -3)).await;
    assert_eq!(raw.abort().await.code, AbortCode::Violation);
    attacked.serves_on().await;
}

#[tokio::test]
async fn ids_of_another_connection_mean_nothing_here() {
    let attacked = Attacked::start().await;
    let mut owner = attacked.greeted().await;
    owner.message(&open(1)).await;
    assert!(outcome(owner.answer().await).is_ok());
    let mut dice = Dice::new(0x5eed_0003);
    let mut forged = vec![-1, -2, 1 << 20, -(1 << 60), 1 << 60];
    forged.extend((0..50).map(|_| -1 - dice.below(1 << 16) as i64));
    for id in forged {
        let abort = attacked.abort_for_messages(&[touch(1, id)]).await;
        assert_eq!(abort.code, AbortCode::Violation, "{id}");
    }
    owner.message(&touch(2, -1)).await;
    assert_eq!(outcome(owner.answer().await).as_deref(), Ok(&[1][..]));
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_release_of_what_is_not_held_ends_the_connection() {
    let attacked = Attacked::start().await;
    let cases: [&[(i64, u64)]; 8] = [
        &[(-1, 2)],
        &[(-1, 1), (-1, 1)],
        &[(-1, u64::from(u32::MAX))],
        &[(-1, u64::MAX)],
        &[(-1, 0)],
        &[(-2, 1)],
        &[(1, 2)],
        &[(2, 1)],
    ];
    for mentions in cases {
        let abort = attacked.abort_for_messages(&[open(1), release(mentions)]).await;
        assert_eq!(abort.code, AbortCode::Violation, "{mentions:?}");
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn the_root_cannot_be_released() {
    let attacked = Attacked::start().await;
    let abort = attacked.abort_for_messages(&[release(&[(0, 1)])]).await;
    assert_eq!(abort.code, AbortCode::Violation);
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_result_id_is_used_once() {
    let attacked = Attacked::start().await;
    for (first, second) in [(1, 1), (1, 3), (2, 3)] {
        let hold = |n| Message::Call(call(n, "Target/hold", &()));
        let abort = attacked.abort_for_messages(&[hold(first), hold(second)]).await;
        assert_eq!(abort.code, AbortCode::Violation);
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn answers_nobody_asked_for_end_the_connection() {
    let attacked = Attacked::start().await;
    let answer = |id| {
        Message::Resolve(Resolve {
            export: ExportId(id),
            payload: Payload { caps: vec![], body: vec![1].into() },
        })
    };
    assert_eq!(attacked.abort_for_messages(&[answer(1)]).await.code, AbortCode::Violation);
    // The server calls back; the first answer stands, the second ends it.
    let mut raw = attacked.greeted().await;
    let bounce = bytes_call(1, "Target/bounce", &[1, 0][..]);
    raw.message(&Message::Call(with_caps(bounce, [Cap::Mine(ExportId(-1))]))).await;
    assert!(matches!(raw.answer().await, Some(Message::Call(_))));
    raw.message(&answer(1)).await;
    assert_eq!(outcome(raw.answer().await).as_deref(), Ok(&[2][..]));
    raw.message(&answer(1)).await;
    assert_eq!(raw.abort().await.code, AbortCode::Violation);
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_cancel_of_what_has_ended_is_ignored_and_of_what_never_was_ends_the_connection() {
    let attacked = Attacked::start().await;
    let cancel = |id| Message::Cancel(Cancel { result: ImportId(id) });
    let mut raw = attacked.greeted().await;
    raw.message(&Message::Call(call(1, "Target/say", &"x"))).await;
    assert!(outcome(raw.answer().await).is_ok());
    raw.message(&cancel(1)).await;
    raw.message(&cancel(1)).await;
    raw.message(&Message::Call(call(2, "Target/hold", &()))).await;
    raw.message(&cancel(2)).await;
    assert_eq!(outcome(raw.answer().await), Err(FailureKind::Cancelled));
    raw.message(&cancel(2)).await;
    raw.message(&cancel(3)).await;
    assert_eq!(raw.abort().await.code, AbortCode::Violation);
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_forged_disembargo_ends_the_connection() {
    let attacked = Attacked::start().await;
    let ask = |target| Message::Disembargo(Disembargo::Ask { target: ImportId(target), number: 1 });
    let echo = Message::Disembargo(Disembargo::Echo { number: 1 });
    for messages in [vec![ask(0)], vec![ask(1)], vec![open(1), ask(1)], vec![open(1), ask(-1)], vec![echo]] {
        assert_eq!(attacked.abort_for_messages(&messages).await.code, AbortCode::Violation);
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_violation_that_carries_references_blocks_nothing() {
    let attacked = Attacked::start().await;
    let on_nothing = with_caps(touch_call(1, -9), [Cap::Mine(ExportId(-1)), Cap::Mine(ExportId(-2))]);
    let abort = attacked.abort_for_messages(&[Message::Call(on_nothing)]).await;
    assert_eq!(abort.code, AbortCode::Violation);
    attacked.serves_on().await;
}

fn touch_call(result: i64, target: i64) -> Call {
    Call { target: ImportId(target), ..call(result, "Thing/touch", &()) }
}

#[tokio::test]
async fn more_calls_than_granted_are_answered_and_then_the_connection_ends() {
    let limits = Limits { calls: 16, strikes: 10, ..Limits::default() };
    let attacked = Attacked::with(limits).await;
    let mut raw = attacked.greeted().await;
    raw.message(&Message::Call(call(1, "Target/hold", &()))).await;
    for n in 2..=27 {
        let hold = Call { method: MethodName::Known(1), ..call(n, "", &()) };
        raw.message(&Message::Call(hold)).await;
    }
    let messages = raw.rest().await;
    assert_eq!(messages.len(), 11, "{messages:?}");
    match messages.last() {
        Some(Message::Abort(abort)) => assert_eq!(abort.code, AbortCode::Limit),
        other => panic!("{other:?}"),
    }
    attacked.serves_on().await;
}
