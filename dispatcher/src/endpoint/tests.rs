//! Turns at an endpoint, with time that is paused.

use super::*;
use std::time::Duration;

fn endpoint() -> Arc<Endpoint> {
    Endpoints::default().of(&TenantId::parse("acme").unwrap(), "https://a.example/")
}

async fn turn(of: &Arc<Endpoint>, first: bool) -> Option<Turn> {
    tokio::time::timeout(Duration::from_millis(1), Arc::clone(of).turn(first)).await.ok()
}

#[tokio::test(start_paused = true)]
async fn each_lane_has_one_call_and_more_are_learned() {
    let endpoint = endpoint();
    let (one, other) = (turn(&endpoint, true).await.unwrap(), turn(&endpoint, true).await.unwrap());
    assert!(turn(&endpoint, false).await.is_none(), "nothing is known of it");
    one.over(Health::Good);
    assert_eq!(endpoint.worthwhile(), 2);
    let more = turn(&endpoint, false).await.unwrap();
    assert!(turn(&endpoint, false).await.is_none());
    other.over(Health::Good);
    more.over(Health::Good);
    let turns = [turn(&endpoint, false).await, turn(&endpoint, false).await];
    assert!(turns.iter().all(Option::is_some));
    // A sign of too much takes what comes back.
    for (turn, wait) in turns.into_iter().flatten().zip([0, 60]) {
        tokio::time::advance(Duration::from_secs(wait)).await;
        turn.over(Health::Overloaded);
    }
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(60)).await;
        if let Some(turn) = turn(&endpoint, true).await {
            turn.over(Health::Overloaded);
        }
    }
    assert_eq!(endpoint.worthwhile(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_only_fails_rests_and_one_call_decides() {
    let endpoint = endpoint();
    for call in 1..=limits::BREAKER_CALLS_MIN {
        let change = turn(&endpoint, true).await.unwrap().over(Health::Failed);
        assert_eq!(change.is_some(), call == limits::BREAKER_CALLS_MIN);
    }
    assert!(endpoint.rests() && turn(&endpoint, true).await.is_none());
    let begun = Instant::now();
    let probe = Arc::clone(&endpoint).turn(true).await;
    assert!(begun.elapsed() <= limits::BREAKER_OPEN && begun.elapsed() >= limits::BREAKER_OPEN / 2);
    assert!(turn(&endpoint, true).await.is_none(), "one decides");
    // One that is dropped decides nothing, and the next one does.
    drop(probe);
    let probe = turn(&endpoint, true).await.unwrap();
    let waiting = tokio::spawn(Arc::clone(&endpoint).turn(true));
    assert_eq!(probe.over(Health::Good), Some(breaker::Change::Closed));
    waiting.await.unwrap();
    assert!(!endpoint.rests());
}

#[tokio::test(start_paused = true)]
async fn turns_are_given_in_the_order_in_which_they_were_asked_for() {
    let endpoint = endpoint();
    turn(&endpoint, true).await.unwrap().over(Health::Good);
    let held = turn(&endpoint, false).await.unwrap();
    let mut waiting = Vec::new();
    for lane in 0..5 {
        let endpoint = Arc::clone(&endpoint);
        waiting.push(tokio::spawn(async move {
            let turn = endpoint.turn(false).await;
            (lane, turn)
        }));
        tokio::task::yield_now().await;
    }
    held.over(Health::Overloaded);
    let mut order = Vec::new();
    for task in waiting {
        // Each waits for the one before it.
        turn(&endpoint, true).await.unwrap().over(Health::Good);
        let (lane, turn) = task.await.unwrap();
        order.push(lane);
        drop(turn);
    }
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[test]
fn what_follows_the_path_makes_no_other_endpoint_and_another_tenant_does() {
    let (endpoints, acme) = (Endpoints::default(), TenantId::parse("acme").unwrap());
    let one = endpoints.of(&acme, "https://a.example/x?token=1");
    assert!(Arc::ptr_eq(&one, &endpoints.of(&acme, "https://a.example/x?token=2")));
    assert!(!Arc::ptr_eq(&one, &endpoints.of(&acme, "https://a.example/y")));
    assert!(!Arc::ptr_eq(&one, &endpoints.of(&TenantId::parse("other").unwrap(), "https://a.example/x")));
}
