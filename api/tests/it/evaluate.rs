//! Trying an expression on events.

use serde_json::json;

use crate::world::World;

const ROUTE: &str = "/v1/jmespath:evaluate";

#[tokio::test]
async fn an_expression_is_tried_on_events_as_a_filter_would() {
    let world = World::new().await;
    let asked = json!({
        "expression": "commit.record.langs[0] || abs(commit.n)",
        "events": [
            {"commit": {"record": {"langs": ["en", "de"]}}},
            {"commit": {"record": {}, "n": -3}},
            {"commit": {"record": {"langs": [""]}, "n": "x"}},
            {"commit": {"record": {"langs": []}, "n": 0}},
        ],
    });
    let answer = world.post(ROUTE, asked.to_string()).await.json(200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0], json!({"value": "en", "matches": true}));
    assert_eq!(results[1], json!({"value": 3.0, "matches": true}));
    assert!(results[2]["error"].as_str().unwrap().contains("abs"), "{answer}");
    // Any number is true to JMESPath.
    assert_eq!(results[3], json!({"value": 0.0, "matches": true}));
}

#[tokio::test]
async fn what_is_wrong_with_the_question_is_said() {
    let world = World::new().await;
    for (asked, pointers) in [
        (json!({"expression": "a[", "events": []}), &["/expression"][..]),
        (json!({"expression": "a"}), &["/events"]),
        (json!({"expression": "a", "events": [], "source": "firehose"}), &["/source"]),
        (json!({"expression": "a".repeat(9000), "events": vec![1; 101]}), &["/expression", "/events"]),
    ] {
        world.post(ROUTE, asked.to_string()).await.refused(400, "invalid-request", pointers);
    }
    world.get(ROUTE).await.refused(405, "method-not-allowed", &[]);
}

#[tokio::test]
async fn an_expression_that_never_ends_costs_what_one_may_cost() {
    let world = World::new().await;
    let doubling = vec!["[@,@]"; 60].join(" | ");
    let asked = json!({"expression": doubling, "events": [1, 2]});
    let answer = world.post(ROUTE, asked.to_string()).await.json(200);
    assert_eq!(answer["results"][1], json!({"error": "the expression takes too many steps on this value"}));
    // What is answered is bounded, too.
    let large = json!({"expression": "[@,@,@,@,@,@,@,@]", "events": vec!["x".repeat(9000); 100]});
    let answer = world.post(ROUTE, large.to_string()).await;
    assert!(answer.body.len() < 5 * 1024 * 1024, "{}", answer.body.len());
    let answer = answer.json(200);
    assert!(answer["results"][0]["matches"].as_bool().unwrap());
    assert!(answer["results"][99]["error"].as_str().unwrap().contains("4194304 bytes"), "{}", answer["results"][99]);
}
