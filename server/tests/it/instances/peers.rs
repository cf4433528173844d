//! How instances treat silent peers: a dead instance fences no other one, and an instance whose lease ran out serves
//! nothing.

use crate::support::{Server, TcpProxy, Via, Watch, World, eventually};
use reqwest::{Method, StatusCode};
use roost_client::Socket;
use roost_schema::{InstanceId, Role, RoomId, SendMessageToRoom};
use std::time::Duration;

/// When the outage is checked for the last time: a lease runs for 10 s, after which a dead instance counts as gone.
const OUTAGE: Duration = Duration::from_secs(20);
/// How long the outage has lasted when one of the three instances dies.
const BEFORE_THE_KILL: Duration = Duration::from_secs(3);

#[tokio::test]
async fn with_the_database_frozen_the_death_of_one_of_three_closes_nobody() {
    let world = World::on_cluster().await;
    let proxy = TcpProxy::to(world.database_url()).await;
    let url = proxy.url();
    let keys = [("database_url", url.as_str())];
    let one = world.serve_one_with(&keys).await;
    let two = world.serve_one_with(&keys).await;
    let mut three = world.start_program(&keys).await;
    let (alice, bob) = (one.alice().await, two.bob().await);
    let board = alice.board("Plan").await.id;
    alice.invite(board, &bob, Role::Editor).await;
    let writer = Socket::connect(alice.client()).await.unwrap();
    writer.join(board, None).await.unwrap();
    let mut watches = Vec::new();
    for via in Via::ALL {
        watches.push(bob.watch(via, board, None).await.unwrap());
    }
    for server in [&one, &two] {
        eventually(async || {
            ready(server).await == StatusCode::OK
                && server
                    .app
                    .link()
                    .is_some_and(roost_server::live::Link::is_up)
                && server.app.list_other_instances().await.unwrap().len() == 2
        })
        .await;
    }
    delivered(&writer, board, &mut watches, "before").await;

    proxy.freeze();
    lasts_for(&[&one, &two], BEFORE_THE_KILL).await;
    three.kill();
    let mut number = 0;
    while age(&one) < OUTAGE || age(&two) < OUTAGE {
        number += 1;
        lasts_for(
            &[&one, &two],
            age(&one).max(age(&two)) + Duration::from_millis(500),
        )
        .await;
        delivered(&writer, board, &mut watches, &format!("during {number}")).await;
    }

    proxy.mend();
    for server in [&one, &two] {
        eventually(async || {
            assert!(!server.app.fence().is_shut(), "nor does its end close them");
            let lease = server.app.fence().lease_age();
            lease.is_some_and(|age| age < BEFORE_THE_KILL)
        })
        .await;
    }
    delivered(&writer, board, &mut watches, "after").await;
}

/// Waits until the outage has lasted for `pause`; until then all instances are ready and none is fenced.
async fn lasts_for(servers: &[&Server], pause: Duration) {
    eventually(async || {
        for server in servers {
            assert!(!server.app.fence().is_shut(), "after {:?}", age(server));
            let readiness = ready(server).await;
            assert_eq!(readiness, StatusCode::OK, "after {:?}", age(server));
        }
        servers.iter().all(|server| age(server) > pause)
    })
    .await;
}

async fn delivered(writer: &Socket, room: RoomId, watches: &mut [Watch], text: &str) {
    let input = SendMessageToRoom {
        room,
        text: text.to_owned(),
        id: None,
        op_id: None,
    };
    writer.send_message(&input).await.unwrap();
    for watch in watches {
        let mut has_come = false;
        while !has_come {
            let frame = watch.next().await.expect("nobody is closed");
            let mut bodies = frame.events.iter().map(|event| event.body.as_str());
            has_come = bodies.any(|body| body.contains(text));
        }
    }
}

/// How long ago an instance has read the revocations.
fn age(server: &Server) -> Duration {
    server.app.fence().age().unwrap_or_default()
}

async fn ready(server: &Server) -> StatusCode {
    let answer = server.endpoint.request(Method::GET, "/readyz").send().await;
    answer.unwrap().status()
}

/// The instance still reads revocations but cannot renew its lease. Its peers may rely on it serving nothing.
#[tokio::test]
async fn an_instance_whose_lease_ran_out_serves_nothing_until_it_is_registered_again() {
    let world = World::on_postgres_and_redis().await;
    let one = world.serve_one_with(&[]).await;
    let two = world.serve_one_with(&[]).await;
    for server in [&one, &two] {
        eventually(async || ready(server).await == StatusCode::OK).await;
    }
    world.run(&refuse_renewals(two.app.instance_id())).await;
    eventually(async || two.app.fence().is_shut()).await;
    let has_looked = age(&two) < Duration::from_secs(5);
    assert!(has_looked, "it is for the lease, {:?}", age(&two));
    eventually(async || ready(&two).await == StatusCode::SERVICE_UNAVAILABLE).await;
    let answer = two.endpoint.request(Method::GET, "/api/v1/me").send().await;
    assert_eq!(answer.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!one.app.fence().is_shut());
    // An instance counts its lease from before its request, the database from a later moment.
    eventually(async || one.app.list_other_instances().await.unwrap().is_empty()).await;
    assert!(two.app.fence().is_shut(), "and still says nothing");

    world.run(TAKE_RENEWALS).await;
    eventually(async || ready(&two).await == StatusCode::OK).await;
    let [other] = one
        .app
        .list_other_instances()
        .await
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(other.id, two.app.instance_id(), "it is registered again");
}

/// SQL that makes the database refuse to renew the lease of one instance; all else is answered.
pub(super) fn refuse_renewals(instance: InstanceId) -> String {
    format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON instances
         FOR EACH ROW WHEN (NEW.id = '{instance}') EXECUTE FUNCTION refuse()"
    )
}

/// SQL that makes the database renew leases again.
pub(super) const TAKE_RENEWALS: &str = "DROP TRIGGER refuse ON instances";
