//! An HTTP service whose settings are hot, and which starts while every server is down.
//!
//! Each answer is made of one configuration: what changes, changes between two requests and not within
//! one. `GET /` answers with the settings and their checksum, `GET /status` with what is known of them.
//! The checksum is there for a test that looks for half a change; a service needs none.
//!
//! `kvd dev` in one terminal; in another, with the context that it names:
//! `kvctl put shop/greeting hello`, `kvctl put shop/number 1 --type integer`,
//! `kvctl put shop/limits '[1, 2]' --type json` and `kvctl put shop/checksum 0`; then
//! `HOLDFAST_CONTEXT=… cargo run -p holdfast-client --example shop_service -- /tmp/shop-cache 127.0.0.1:8080`
//!
//! With `-` in place of the address it serves the socket that is its standard input, as systemd hands over
//! with `StandardInput=socket`: then no connection is refused while the service restarts. Told to end
//! (SIGTERM), it answers whatever it accepted.

use std::{
    env,
    error::Error,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::fd::AsFd as _,
    path::Path,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, header::CONTENT_TYPE},
    routing::get,
    serve::Listener,
};
use holdfast_client::{Client, ClientOptions, Config, ConfigRead, Context, StartPolicy};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};

/// How long a connection that was accepted is waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

#[derive(serde::Deserialize)]
struct Shop {
    number: u64,
    greeting: String,
    limits: Vec<u64>,
    checksum: String,
}

impl Shop {
    fn sum(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (self.number, &self.greeting, &self.limits).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// With its content type.
type Page = ([(HeaderName, &'static str); 1], String);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let usage = "name a folder for the cache, and an address or `-`";
    let mut arguments = env::args().skip(1);
    let (folder, listen) = arguments.next().zip(arguments.next()).ok_or(usage)?;
    let listener = listener(&listen).await?;
    let config = settings(Path::new(&folder)).await?;
    let router = Router::new()
        .route("/", get(settings_page))
        .route("/status", get(status_page))
        .with_state(config);
    serve(listener, router).await?;
    Ok(())
}

/// Until it is told to end, and what it accepted has been answered.
///
/// The graceful shutdown of `axum::serve` closes a connection whose request was not read yet, and so fails
/// that request. Here nobody tells a connection to end: each carries one request.
async fn serve(mut listener: TcpListener, router: Router) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1().keep_alive(false);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            Some(_) = connections.join_next() => continue,
            _ = terminate.recv() => break,
        };
        let (http, service) = (http.clone(), TowerToHyperService::new(router.clone()));
        connections.spawn(async move {
            // Whoever goes away before the answer has no use for an error.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
    eprintln!("accepts nothing more, and answers what it accepted");
    let answered = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_ANSWERS, answered).await;
    Ok(())
}

async fn settings(folder: &Path) -> Result<Config<Shop>, Box<dyn Error>> {
    // Connects when it is needed: the service must start while every server is down.
    let client = Client::lazy(&Context::discover()?, ClientOptions::default())?;
    let config = client
        .config::<Shop>("shop/")
        .check_every(Duration::from_millis(200))
        .cache(folder)
        .start(StartPolicy::ServerThenCache {
            wait: Duration::from_secs(1),
        });
    Ok(config.open().await?)
}

async fn settings_page(State(config): State<Config<Shop>>) -> Page {
    let shop = config.load();
    json_page(json!({
        "revision": ConfigRead::revision(&shop),
        "number": shop.number,
        "greeting": shop.greeting,
        "limits": shop.limits,
        "checksum": shop.checksum,
        "computed": shop.sum(),
    }))
}

async fn status_page(State(config): State<Config<Shop>>) -> Page {
    let status = config.status();
    json_page(json!({
        "revision": status.revision,
        "origin": format!("{:?}", status.origin),
        "age_ms": status.age.as_millis() as u64,
        "cached": status.cached,
        "rejected": status.rejected.map(|rejected| rejected.error.to_string()),
    }))
}

fn json_page(json: serde_json::Value) -> Page {
    ([(CONTENT_TYPE, "application/json")], json.to_string())
}

async fn listener(listen: &str) -> io::Result<TcpListener> {
    if listen != "-" {
        return TcpListener::bind(listen).await;
    }
    let socket = std::net::TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
