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
