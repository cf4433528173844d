//! Redis: the program on PATH or of Debian's package. It is configured to lose its data when it ends.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Launch, Server, temporary_folder};
use crate::process::{self, DeathSignal, tied};
use crate::tools;

/// Gives the tests the URL of the server.
pub const URL_VARIABLE: &str = "ROOST_TEST_REDIS_URL";
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
const CERTIFICATE_DAYS: &str = "30";

/// Starts a Redis. `CONFIG`, `CLIENT KILL` and `DEBUG SLEEP` are allowed, for tests that break it.
pub fn start() -> Result<Server> {
    let redis = program()?;
    let launch = launch(
        Box::new({
            let redis = redis.clone();
            move |port, folder| {
                let mut command = base(&redis, folder);
                command.args(["--bind", "127.0.0.1", "--port"]);
                command.arg(port.to_string());
                command
            }
        }),
        Box::new(|port| answers(TcpStream::connect((Ipv4Addr::LOCALHOST, port)))),
    );
    let mut server = Server::start(launch, temporary_folder()?)?;
    server.url = format!("redis://127.0.0.1:{}/", server.port());
    server.version = version(&redis)?;
    Ok(server)
}

/// A Redis that speaks TLS only, with a certificate for `localhost` and 127.0.0.1.
pub struct TlsRedis {
    pub server: Server,
    /// The certificate of the authority that signed it, as PEM: clients have to trust it.
    pub authority: PathBuf,
}

pub fn start_with_tls() -> Result<TlsRedis> {
    let redis = program()?;
    let folder = temporary_folder()?;
    let authority = make_certificates(folder.path())?;
    let socket = folder.path().join("redis.sock");
    let launch = launch(
        Box::new({
            let (redis, socket) = (redis.clone(), socket.clone());
            move |port, folder| {
                let file = |name| folder.path().join(name);
                let mut command = base(&redis, folder);
                command.args(["--bind", "127.0.0.1", "--port", "0", "--tls-port"]);
                command.arg(port.to_string());
                command.arg("--tls-cert-file").arg(file("server.pem"));
                command.arg("--tls-key-file").arg(file("server.key"));
                command.arg("--tls-ca-cert-file").arg(file("authority.pem"));
                command.args(["--tls-auth-clients", "no"]);
                // The check for readiness uses this socket, and needs no TLS.
                command.arg("--unixsocket").arg(&socket);
                command
            }
        }),
        Box::new(move |_| answers(UnixStream::connect(&socket))),
    );
    let mut server = Server::start(launch, folder)?;
    server.url = format!("rediss://localhost:{}/", server.port());
    server.version = version(&redis)?;
    Ok(TlsRedis { server, authority })
}

fn program() -> Result<PathBuf> {
    tools::apt_program("redis-server", "redis-server")
}

fn launch(command: super::StartCommand, is_ready: super::ReadyCheck) -> Launch {
    Launch {
        name: "Redis",
        command,
        is_ready,
        stop_signal: Signal::TERM,
        discard_signal: Signal::KILL,
    }
}

fn base(redis: &Path, folder: &TempDir) -> Command {
    let mut command = tied(redis, DeathSignal::Kill, None);
    command.arg("--dir").arg(folder.path());
    command.args(["--save", "", "--appendonly", "no"]);
    command.args(["--enable-debug-command", "local"]);
    command
}

/// From `Redis server v=7.0.15 sha=00000000:0 …`.
fn version(redis: &Path) -> Result<String> {
    let text = process::output(Command::new(redis).arg("--version"))?;
    let mut words = text.split_whitespace();
    let number = words.find_map(|word| word.strip_prefix("v="));
    Ok(format!("Redis {}", number.unwrap_or("of unknown version")))
}

trait Stream: Read + Write {
    fn limit(&self) -> std::io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self) -> std::io::Result<()> {
        self.set_read_timeout(Some(ANSWER_PATIENCE))
    }
}

impl Stream for UnixStream {
    fn limit(&self) -> std::io::Result<()> {
        self.set_read_timeout(Some(ANSWER_PATIENCE))
    }
}

fn answers(stream: std::io::Result<impl Stream>) -> bool {
    const PONG: &[u8] = b"+PONG";
    let ask = |mut stream: Box<dyn Stream + '_>| {
        stream.limit()?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; PONG.len()];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer == PONG)
    };
    stream
        .and_then(|stream| ask(Box::new(stream)))
        .unwrap_or(false)
}

/// An authority and a certificate it signed: TLS libraries refuse an authority that serves its own certificate.
fn make_certificates(folder: &Path) -> Result<PathBuf> {
    let openssl = tools::apt_program("openssl", "openssl")?;
    let run = |line: &str| {
        let mut command = Command::new(&openssl);
        command.args(line.split(' ')).current_dir(folder);
        process::output(&mut command)
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    fs::write(
        folder.join("names.txt"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    )?;
    run(&format!(
        "req -x509 {key} -keyout authority.key -out authority.pem -days {CERTIFICATE_DAYS} -subj /CN=roost-test-authority"
    ))?;
    run(&format!(
        "req {key} -keyout server.key -out server.csr -subj /CN=localhost"
    ))?;
    run(&format!(
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial \
         -days {CERTIFICATE_DAYS} -extfile names.txt -out server.pem"
    ))?;
    Ok(folder.join("authority.pem"))
}
