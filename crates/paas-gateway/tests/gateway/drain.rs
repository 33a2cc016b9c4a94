//! Configs that change under load, and instances that leave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::StatusCode;
use http_body_util::Full;
use paas_gateway::{
    ErrorKind,
    config::{Listener, Serves, State},
};

use super::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_requests_survives_two_hundred_configs_that_replace_every_instance() {
    let first = Upstream::start("0").await;
    let (gateway, address) = gateway(config(1, &[("r", 1)], &[("r", first.address)])).await;
    let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (stop, sent) = (stop.clone(), sent.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                while !stop.load(SeqCst) {
                    // Half of them open a connection for each request, half keep theirs through all configs.
                    if number % 2 == 0 {
                        client = Client::connect(address).await;
                    }
                    let method = if number < 3 { "GET" } else { "POST" };
                    let request = request(method, "app.localhost", "/").body(Full::from("body")).unwrap();
                    let said = client.try_send(request).await.unwrap();
                    assert_eq!(said.status, StatusCode::OK, "{}", said.body);
                    sent.fetch_add(1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
        })
        .collect();

    let mut current = first;
    for generation in 2..202 {
        let next = Upstream::start(&generation.to_string()).await;
        let (old_id, new_id) = (format!("i{}", generation - 1), format!("i{generation}"));
        let mut both = config(generation, &[("r", 1)], &[("r", next.address)]);
        both.instances[0].id = new_id.as_str().into();
        gateway.apply(both).await.unwrap();
        let left = gateway.wait_drained(&[old_id.as_str().into()], BOUND).await.unwrap();
        assert_eq!(left, []);
        // Only now may it go.
        current.die().await;
        current = next;
        let so_far = sent.load(SeqCst);
        until("requests go on", async || sent.load(SeqCst) >= so_far + 6).await;
    }
    stop.store(true, SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    assert!(sent.load(SeqCst) >= 1200, "{sent:?}");
    let errors: u64 = gateway.statistics().entries.iter().map(|entry| entry.gateway_errors).sum();
    assert_eq!(errors, 0);
}

#[tokio::test]
async fn a_request_in_flight_is_finished_by_its_instance_and_delays_the_drain() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let (gateway, address) = gateway(config(1, &[("r", 1)], &[("r", a.address)])).await;
    let slow = tokio::spawn(async move { get(address, "/slow").await });
    until("the request is in flight", async || a.requests() == 1).await;

    let mut replaced = config(2, &[("r", 1)], &[("r", b.address)]);
    replaced.instances[0].id = "new".into();
    gateway.apply(replaced).await.unwrap();
    assert_eq!(get(address, "/").await.by(), "b");

    let left = gateway.wait_drained(&ids(&["r-0"]), Duration::from_millis(20)).await.unwrap();
    assert_eq!((left.len(), left[0].requests, left[0].accepting), (1, 1, false));
    let mut events = gateway.drain_events();
    assert_eq!(gateway.wait_drained(&ids(&["r-0"]), BOUND).await.unwrap(), []);
    assert_eq!(events.recv().await.unwrap().as_str(), "r-0");
    let said = slow.await.unwrap();
    assert_eq!((said.status, said.by()), (StatusCode::OK, "a"));
    assert_eq!(a.requests(), 1);
}

#[tokio::test]
async fn waiting_for_an_instance_that_serves_is_refused() {
    let a = Upstream::start("a").await;
    let (gateway, _) = gateway(config(1, &[("r", 1)], &[("r", a.address)])).await;
    let error = gateway.wait_drained(&ids(&["unknown", "r-0"]), BOUND).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("instance=r-0") && error.to_string().contains("draining"), "{error}");
    assert_eq!(gateway.wait_drained(&ids(&["unknown"]), BOUND).await.unwrap(), []);
}

#[tokio::test]
async fn an_older_config_is_refused_and_the_same_one_is_welcome() {
    let a = Upstream::start("a").await;
    let make = |generation| config(generation, &[("r", 1)], &[("r", a.address)]);
    let (gateway, _) = gateway(make(5)).await;
    assert_eq!(gateway.apply(make(4)).await.unwrap_err().kind(), ErrorKind::Stale);
    assert_eq!(gateway.apply(make(5)).await.unwrap(), 5);
    let mut other = make(5);
    other.instances.clear();
    assert_eq!(gateway.apply(other).await.unwrap_err().kind(), ErrorKind::Stale);
    assert_eq!(gateway.status().await.generation, Some(5));
}

#[tokio::test]
async fn a_config_with_an_address_that_is_taken_changes_nothing() {
    let a = Upstream::start("a").await;
    let (gateway, address) = gateway(config(1, &[("r", 1)], &[("r", a.address)])).await;
    let mut taken = config(2, &[("r", 1)], &[]);
    taken.services[0].state = State::Stopped { reason: String::new() };
    taken.listeners.push(Listener {
        id: "taken".into(),
        address: a.address,
        serves: Serves::Http { trust_forwarded: false },
    });
    let error = gateway.apply(taken).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("listener=taken"), "{error}");
    assert_eq!(get(address, "/").await.status, StatusCode::OK);
    assert_eq!(gateway.status().await.generation, Some(1));
}

#[tokio::test]
async fn a_listener_stays_bound_while_others_come_and_go() {
    let a = Upstream::start("a").await;
    let (gateway, address) = gateway(config(1, &[("r", 1)], &[("r", a.address)])).await;
    let mut client = Client::connect(address).await;
    client.get("/").await;
    let mut more = config(2, &[("r", 1)], &[("r", a.address)]);
    more.listeners.push(Listener {
        id: "second".into(),
        address: ([127, 0, 0, 1], 0).into(),
        serves: Serves::Http { trust_forwarded: false },
    });
    gateway.apply(more).await.unwrap();
    let second = bound(&gateway, "second").await;
    assert_eq!(bound(&gateway, "web").await, address);
    assert_eq!(get(second, "/").await.status, StatusCode::OK);
    gateway.apply(config(3, &[("r", 1)], &[("r", a.address)])).await.unwrap();
    until("the second is closed", async || tokio::net::TcpStream::connect(second).await.is_err()).await;
    assert_eq!(client.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_shutdown_lets_what_is_in_flight_end() {
    let a = Upstream::start("a").await;
    let (gateway, address) = gateway(config(1, &[("r", 1)], &[("r", a.address)])).await;
    let mut idle = Client::connect(address).await;
    idle.get("/").await;
    let slow = tokio::spawn(async move { get(address, "/slow").await });
    until("the request is in flight", async || a.requests() == 2).await;
    assert_eq!(gateway.shutdown(BOUND).await, 0);
    assert_eq!(slow.await.unwrap().status, StatusCode::OK);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_killed_under_load_cost_no_request_that_may_be_repeated() {
    let spare = Upstream::start("spare").await;
    let mut victims = Vec::new();
    let mut all = vec![("r", spare.address)];
    for number in 0..8 {
        let victim = Upstream::start(&number.to_string()).await;
        all.push(("r", victim.address));
        victims.push(victim);
    }
    let (gateway, address) = gateway(config(1, &[("r", 1)], &all)).await;
    let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, sent) = (stop.clone(), sent.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                while !stop.load(SeqCst) {
                    // Some of them are in the hands of an instance when it is killed.
                    let request = request("PUT", "app.localhost", "/slow").body(Full::from("body")).unwrap();
                    let said = client.try_send(request).await.unwrap();
                    assert_eq!(said.status, StatusCode::OK, "{}", said.body);
                    sent.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    // The config is never told.
    for victim in victims {
        let so_far = victim.requests();
        until("it has a request", async || victim.requests() > so_far).await;
        victim.die().await;
    }
    let so_far = sent.load(SeqCst);
    until("requests go on", async || sent.load(SeqCst) > so_far + 8).await;
    stop.store(true, SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let retries: u64 = gateway.statistics().entries.iter().map(|entry| entry.retries).sum();
    assert!(retries >= 8, "each of them died with a request: {retries}");
}
