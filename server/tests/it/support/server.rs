//! Whole servers in this process, on real ports, booted as the program boots them.

use super::{DEADLINE, Person, TcpProxy, World};
use roost_client::Endpoint;
use roost_server::{
    app::App,
    boot::{self, boot},
    config::{self, Config},
};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// A running server, or the first of a cluster. When it is dropped, it ends at once, without draining.
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) metrics_address: Option<SocketAddr>,
    pub(crate) app: App,
    /// The other servers of the cluster.
    pub(crate) others: Vec<Server>,
    arrivals: AtomicUsize,
    stop: CancellationToken,
    task: JoinSet<anyhow::Result<()>>,
}

impl World {
    /// A server upon this world's database, ready to serve. `SQLite` takes one at a time.
    pub(crate) async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    /// The same with some keys set: `("connections_max", "3")`.
    pub(crate) async fn serve_with(&self, keys: &[(&str, &str)]) -> Server {
        let mut server = self.serve_one_with(keys).await;
        while server.others.len() + 1 < self.instances {
            server.others.push(self.serve_one_with(keys).await);
        }
        server
    }

    /// One server, also of a cluster.
    pub(crate) async fn serve_one_with(&self, keys: &[(&str, &str)]) -> Server {
        Server::run(boot(self.config(keys)).await.unwrap())
    }

    /// One server, with a proxy in front of its database.
    pub(crate) async fn serve_one_by_proxy(&self) -> (TcpProxy, Server) {
        let proxy = TcpProxy::to(self.database_url()).await;
        let server = self.serve_one_with(&[("database_url", &proxy.url())]).await;
        (proxy, server)
    }

    /// The configuration of a server of this world: any free port, and limits that no quick story reaches by chance.
    pub(crate) fn config(&self, keys: &[(&str, &str)]) -> Config {
        let defaults = [
            ("listen", "127.0.0.1:0"),
            ("metrics_listen", ""),
            ("database_url", self.url.as_str()),
            ("journal_url", self.journal_url.as_str()),
            ("redis_url", self.redis_url.as_str()),
            ("redis_prefix", self.redis_prefix.as_str()),
            ("address_requests_per_second", "100000"),
            ("account_requests_per_second", "100000"),
            ("address_handshakes_per_second", "10000"),
            ("address_sign_ins_per_second", "10000"),
        ];
        let variables = defaults
            .iter()
            .chain(keys)
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        config::load_from(None, variables).unwrap().config
    }
}

impl Server {
    fn run(server: boot::Server) -> Self {
        let (address, metrics_address) = (server.address, server.metrics_address);
        let app = server.app.clone();
        let stop = server.stopper();
        let mut task = JoinSet::new();
        task.spawn(server.serve());
        let endpoint = Endpoint::new(&format!("http://{address}")).unwrap();
        Self {
            endpoint,
            address,
            metrics_address,
            app,
            others: Vec::new(),
            arrivals: AtomicUsize::new(0),
            stop,
            task,
        }
    }

    /// A person with an account, signed in: `name@example.org`. In a cluster each is on the next server.
    pub(crate) async fn person(&self, name: &str) -> Person {
        Person::register(&self.next().endpoint, name).await
    }

    /// The next server of the cluster, in turn.
    pub(crate) fn next(&self) -> &Self {
        let number = self.arrivals.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        number
            .checked_sub(1)
            .map_or(self, |number| &self.others[number])
    }

    pub(crate) async fn alice(&self) -> Person {
        self.person("alice").await
    }

    pub(crate) async fn bob(&self) -> Person {
        self.person("bob").await
    }

    /// A person who is invited to no room.
    pub(crate) async fn stranger(&self) -> Person {
        self.person("stranger").await
    }

    /// Stops the server, or the whole cluster, as SIGTERM does, and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.begin_stopping();
        for server in
            std::iter::once(&mut self.task).chain(self.others.iter_mut().map(|it| &mut it.task))
        {
            let ended = timeout(DEADLINE, server.join_next()).await;
            ended.expect("it stops in time").unwrap().unwrap().unwrap();
        }
    }

    /// Begins to stop the servers, as SIGTERM does; they drain meanwhile.
    pub(crate) fn begin_stopping(&self) {
        self.stop.cancel();
        for server in &self.others {
            server.stop.cancel();
        }
    }
}
