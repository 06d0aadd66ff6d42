use crate::*;

#[tokio::test(flavor = "multi_thread")]
async fn damaged_frames_end_in_an_answer_or_a_reason_and_the_server_serves_on() {
    let attacked = Attacked::start().await;
    let mut dice = Dice::new(0x5eed_0002);
    let (mut aborted, mut closed) = (0, 0);
    for golden in golden::all() {
        let content = bytes::Bytes::copy_from_slice(&golden.frame[prefix(&golden.frame)..]);
        let mut variants = damaged(&content, 80, &mut dice);
        variants.extend((0..10).map(|_| golden.frame[..dice.below(golden.frame.len())].to_vec()));
        variants.extend((0..10).map(|_| {
            let mut long = content.to_vec();
            long.resize(content.len() + 1 + dice.below(3 << 19), dice.roll() as u8);
            framed(&long)
        }));
        let mut attacks: Vec<_> = variants
            .into_iter()
            .map(|variant| {
                let url = attacked.url.clone();
                tokio::spawn(async move {
                    let mut raw = Raw::greeted(&url).await;
                    raw.send(&variant).await;
                    raw.finish().await
                })
            })
            .collect();
        for attack in attacks.drain(..) {
            let messages = attack.await.expect("an end within the time");
            let aborts = messages.iter().filter(|message| matches!(message, Message::Abort(_))).count();
            match messages.last() {
                Some(Message::Abort(abort)) => {
                    assert_eq!(aborts, 1);
                    assert!(abort.reason.len() > 10, "{abort:?}");
                    aborted += 1;
                }
                _ => {
                    assert_eq!(aborts, 0, "{messages:?}");
                    closed += 1;
                }
            }
        }
    }
    // Neither half may become empty without notice.
    assert!(aborted > 1500 && closed > 300, "{aborted} aborted, {closed} closed");
    attacked.serves_on().await;
}

fn prefix(frame: &[u8]) -> usize {
    1 + frame.iter().position(|byte| byte & 0x80 == 0).expect("a length")
}

/// A length as the start of a frame has it.
fn length(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
    let attacked = Attacked::start().await;
    for over in [(1 << 20) + 1, 1 << 31, u64::from(u32::MAX)] {
        let abort = attacked.abort_for(&length(over)).await;
        assert_eq!(abort.code, AbortCode::Malformed);
        assert!(abort.reason.contains("over the limit of 1048576"), "{abort:?}");
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_length_that_overflows_is_refused() {
    let attacked = Attacked::start().await;
    let most = length(u64::MAX);
    let too_much = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    let endless = [0xff; 64];
    for bytes in [&most[..], &too_much, &endless] {
        assert_eq!(attacked.abort_for(bytes).await.code, AbortCode::Malformed);
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_frame_without_a_message_is_refused() {
    let attacked = Attacked::start().await;
    for bytes in [&[0][..], &[1, 11], &[0; 4096]] {
        assert_eq!(attacked.abort_for(bytes).await.code, AbortCode::Malformed);
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_number_has_one_encoding() {
    let attacked = Attacked::start().await;
    // The frame's length, the number of capabilities, and a nonce with an end of zero.
    for bytes in [&[0x83, 0, 11, 0, 7][..], &[4, 11, 0x80, 0, 7], &[4, 11, 0, 0x87, 0]] {
        assert_eq!(attacked.abort_for(bytes).await.code, AbortCode::Malformed);
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_call_that_is_cut_anywhere_does_not_run() {
    let attacked = Attacked::start().await;
    let mut frame = Vec::new();
    let say = call(1, "Target/say", &("never", 3u8).0);
    pb_core::wire::frame::encode(&Message::Call(say), &mut frame);
    for cut in 0..frame.len() {
        let mut raw = attacked.greeted().await;
        raw.send(&frame[..cut]).await;
        assert_eq!(raw.finish().await, [], "cut at {cut}");
    }
    let mut raw = attacked.greeted().await;
    raw.message(&Message::Call(call(1, "Target/calls", &()))).await;
    assert_eq!(outcome(raw.answer().await).as_deref(), Ok(&[0][..]), "no call has run");
    attacked.serves_on().await;
}

#[tokio::test]
async fn a_session_in_segments_of_one_byte_is_as_any_other() {
    let attacked = Attacked::start().await;
    let mut session = MAGIC.to_vec();
    let calls = (1..=3).map(|n| Message::Call(call(n, "Target/say", &"hi")));
    for message in std::iter::once(hello()).chain(calls) {
        pb_core::wire::frame::encode(&message, &mut session);
    }
    let mut raw = Raw::connect(&attacked.url).await;
    for byte in session {
        raw.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        assert_eq!(outcome(raw.answer().await).as_deref(), Ok(&b"\x02hi"[..]));
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn bytes_behind_a_message_are_refused() {
    let attacked = Attacked::start().await;
    for content in [&[11, 0, 7, 0][..], &[7, 0, 2, 0], &[10, 0, 99, 1], &[8, 0, 1, 1, 9]] {
        let abort = attacked.abort_for(&framed(content)).await;
        assert_eq!(abort.code, AbortCode::Malformed);
        assert!(abort.reason.contains("left over"), "{abort:?}");
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn unknown_types_are_answered_or_refused_by_their_number() {
    let attacked = Attacked::start().await;
    for message_type in [0, 15, 31, 128, 255] {
        let abort = attacked.abort_for(&framed(&[message_type, 0, 1])).await;
        assert_eq!(abort.code, AbortCode::Malformed, "type {message_type}");
    }
    for message_type in [32, 99, 127] {
        let mut raw = attacked.greeted().await;
        raw.send(&framed(&[message_type, 1, 4, 1, 2, 3])).await; // With mine -1.
        assert_eq!(raw.answer().await, Some(Message::Unimplemented(Unimplemented { message_type })));
        let mentions = vec![(ImportId(-1), 1)];
        assert_eq!(raw.answer().await, Some(Message::Release(Release { mentions })));
        assert_eq!(raw.finish().await, []);
    }
    attacked.serves_on().await;
}

#[tokio::test]
async fn unknown_flags_are_refused() {
    let attacked = Attacked::start().await;
    let mut frame = Vec::new();
    pb_core::wire::frame::encode(&Message::Call(call(1, "Target/calls", &())), &mut frame);
    for flag in [64, 128] {
        let mut wrong = frame.clone();
        wrong[3] |= flag;
        assert_eq!(attacked.abort_for(&wrong).await.code, AbortCode::Malformed);
    }
    let cast = framed(&[3, 0, 1, 0, 1]); // A cast that asks for a reference.
    assert_eq!(attacked.abort_for(&cast).await.code, AbortCode::Malformed);
    attacked.serves_on().await;
}

#[tokio::test]
async fn casts_of_a_peer_that_knows_no_credit_are_run_or_dropped_and_the_connection_lives() {
    let attacked = Attacked::start().await;
    let mut raw = attacked.greeted().await;
    let note = Cast {
        target: ImportId::ROOT,
        method: MethodName::Defined(Arc::new(MethodText {
            name: "Target/note".into(),
            fewest: 0,
            prints: Box::default(),
        })),
        options: None,
        payload: Payload { caps: Vec::new(), body: vec![b'x'; 100].into() },
    };
    raw.message(&Message::Cast(note.clone())).await;
    let mut casts = Vec::new();
    let note = Message::Cast(Cast { method: MethodName::Known(1), ..note });
    (0..1000).for_each(|_| pb_core::wire::frame::encode(&note, &mut casts));
    assert!(raw.flood(&casts, 4 << 20).await >= 4 << 20, "reading never stops");
    raw.message(&Message::Call(call(1, "Target/say", &"on"))).await;
    assert!(outcome(raw.answer().await).is_ok());
    attacked.serves_on().await;
}
