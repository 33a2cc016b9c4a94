//! The other side of the control socket.

use std::{
    os::unix::net::UnixStream as StdStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, sync::mpsc};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{
    SOCKET,
    message::{Answer, CONTROL_VERSION, Call, Hello, codec},
};
use crate::{
    Config, DrainEvent, Error, ErrorKind, InstanceStatus, Result, Statistics, Status, config::InstanceId,
    gateway::lock, unix::connect_stream,
};

/// For how long a call looks for a gateway that is not there: one that restarts, or is being replaced.
const PATIENCE: Duration = Duration::from_secs(5);

/// Controls the gateway of a folder, whichever process that is at the time: it connects anew whenever that is needed.
/// Cheap to clone; calls may be made at once.
#[derive(Debug, Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    /// A connection that nobody uses now.
    idle: Mutex<Option<Connection>>,
}

impl Control {
    /// The control of the gateway of a folder. Nothing is done before the first call.
    pub fn new(folder: &Path) -> Self {
        Self { shared: Arc::new(Shared { socket: folder.join(SOCKET), idle: Mutex::default() }) }
    }

    /// Connects at once, without patience.
    ///
    /// # Errors
    /// `Unavailable` if no gateway runs, `Protocol` if there is no version in common.
    pub async fn hello(&self) -> Result<Hello> {
        let connection = Connection::open(&self.shared.socket).await?;
        let hello = connection.hello.clone();
        *lock(&self.shared.idle) = Some(connection);
        Ok(hello)
    }

    /// Puts a config into force: see [`Gateway::apply`](crate::Gateway::apply). Returns the generation in force.
    ///
    /// # Errors
    /// As there, with [`Faults`](crate::config::Faults) as the source; `Unavailable` if no gateway runs.
    pub async fn apply(&self, config: Config) -> Result<u64> {
        self.call(&Call::Apply { config: Box::new(config) }).await
    }

    /// The config in force; `None` before the first.
    ///
    /// # Errors
    /// `Unavailable` if no gateway runs.
    pub async fn config(&self) -> Result<Option<Config>> {
        self.call(&Call::Config).await
    }

    /// How the gateway is.
    ///
    /// # Errors
    /// `Unavailable` if no gateway runs.
    pub async fn status(&self) -> Result<Status> {
        self.call(&Call::Status).await
    }

    /// What was counted since the gateway started.
    ///
    /// # Errors
    /// `Unavailable` if no gateway runs.
    pub async fn statistics(&self) -> Result<Statistics> {
        self.call(&Call::Statistics).await
    }

    /// Waits until nobody uses the instances: see [`Gateway::wait_drained`](crate::Gateway::wait_drained). Returns
    /// those that are used still when the time is over.
    ///
    /// # Errors
    /// `Invalid` if one of them may get requests; `Unavailable` if no gateway runs.
    pub async fn wait_drained(
        &self,
        instances: &[InstanceId],
        timeout: Duration,
    ) -> Result<Vec<InstanceStatus>> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.call(&Call::WaitDrained { instances: instances.to_vec(), timeout_ms }).await
    }

    /// Ends the gateway process: it stops accepting at once, and lets what is open come to its end for as long as the
    /// grace allows.
    ///
    /// # Errors
    /// `Unavailable` if no gateway runs.
    pub async fn shutdown(&self, grace: Duration) -> Result<()> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // Not repeated: the gateway after this one is not meant.
        let mut connection = Connection::open(&self.shared.socket).await?;
        connection.call(&Call::Shutdown { grace_ms }).await
    }

    /// Instances as they become free of users, until the receiver is dropped.
    pub fn watch_drains(&self) -> DrainNotices {
        let (sender, receiver) = mpsc::channel(256);
        let socket = self.shared.socket.clone();
        tokio::spawn(async move {
            let watching = async {
                loop {
                    if watch(&socket, &sender).await.is_none() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::select! {
                () = watching => {}
                () = sender.closed() => {}
            }
        });
        DrainNotices { receiver }
    }

    /// A call, made again if the gateway went away during it: all calls that come here can be repeated.
    async fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut wait = Duration::from_millis(2);
        loop {
            let error = match self.try_call(call).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                done => return done,
            };
            if tokio::time::Instant::now() + wait > deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(100));
        }
    }

    async fn try_call<T: DeserializeOwned>(&self, call: &Call) -> Result<T> {
        let idle = lock(&self.shared.idle).take();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.shared.socket).await?,
        };
        let answered = tokio::time::timeout(call.patience(), connection.call(call)).await;
        let answer = answered.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "have the gateway do as asked")
                .with("socket", self.shared.socket.display()))
        });
        if connection.in_step {
            *lock(&self.shared.idle) = Some(connection);
        }
        answer
    }
}

/// What a watch of drains says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainNotice {
    /// The instance gets nothing new, and nobody uses it any more.
    Free(InstanceId),
    /// The watch has begun, or has begun anew: what became free before is not told, look at the status.
    LookAgain,
}

/// The receiving end of [`Control::watch_drains`].
#[derive(Debug)]
pub struct DrainNotices {
    receiver: mpsc::Receiver<DrainNotice>,
}

impl DrainNotices {
    /// The next notice; `None` only when the runtime ends.
    pub async fn next(&mut self) -> Option<DrainNotice> {
        self.receiver.recv().await
    }
}

/// `None` if nobody listens any more.
async fn watch(socket: &Path, notices: &mpsc::Sender<DrainNotice>) -> Option<()> {
    let Ok(mut connection) = Connection::open(socket).await else { return Some(()) };
    if connection.call::<()>(&Call::WatchDrains).await.is_err() {
        return Some(());
    }
    notices.send(DrainNotice::LookAgain).await.ok()?;
    while let Ok(event) = connection.receive::<Option<DrainEvent>>().await {
        let notice = event.map_or(DrainNotice::LookAgain, |event| DrainNotice::Free(event.instance));
        notices.send(notice).await.ok()?;
    }
    Some(())
}

#[derive(Debug)]
struct Connection {
    wire: Framed<UnixStream, LengthDelimitedCodec>,
    hello: Hello,
    /// No answer is outstanding.
    in_step: bool,
}

impl Connection {
    async fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::from_std(StdStream::from(connect_stream(socket)?))
            .map_err(|source| Error::io("connect to the gateway", source))?;
        let hello = Hello { version: 0, pid: 0, build: String::new() };
        let mut connection = Self { wire: Framed::new(stream, codec()), hello, in_step: true };
        let call = Call::Hello { versions: vec![CONTROL_VERSION] };
        let hello = tokio::time::timeout(call.patience(), connection.call(&call)).await;
        connection.hello = hello.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "greet the gateway").with("socket", socket.display()))
        })?;
        Ok(connection)
    }

    async fn call<T: DeserializeOwned>(&mut self, call: &Call) -> Result<T> {
        let text = serde_json::to_vec(call)
            .map_err(|source| Error::new(ErrorKind::Invalid, "write a control call").because(source))?;
        self.in_step = false;
        self.wire.send(Bytes::from(text)).await.map_err(|source| Error::io("send a control call", source))?;
        self.receive().await
    }

    async fn receive<T: DeserializeOwned>(&mut self) -> Result<T> {
        let frame = match self.wire.next().await {
            Some(Ok(frame)) => frame,
            Some(Err(source)) => return Err(Error::io("receive a control answer", source)),
            None => {
                return Err(Error::new(ErrorKind::Unavailable, "receive a control answer")
                    .with_detail("the gateway closed the connection"));
            }
        };
        self.in_step = true;
        match serde_json::from_slice(&frame) {
            Ok(Answer::Ok(value)) => Ok(value),
            Ok(Answer::Error(refused)) => Err(refused.into()),
            Err(source) => Err(Error::new(ErrorKind::Protocol, "read a control answer").because(source)),
        }
    }
}
