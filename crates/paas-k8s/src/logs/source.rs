//! The lines of one pod.

use futures::io::AsyncBufRead;
use futures::{AsyncBufReadExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use paas_core::Result;
use paas_core::port::{BoxStream, InstanceId, LogLine, LogOptions, LogStream};

use super::OPERATION;
use crate::build::CONTAINER;
use crate::cluster::Shared;
use crate::error::failed;
use crate::runtime::instance::meant;

/// Up to where a pod's lines were told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position(Option<Timestamp>);

impl Position {
    pub(super) fn pass(&mut self, at: Timestamp) {
        self.0 = Some(self.0.map_or(at, |before| before.max(at)));
    }

    pub(super) fn has_passed(self, at: Timestamp) -> bool {
        self.0.is_some_and(|passed| at <= passed)
    }
}

/// The parameters of a request for the lines since a time. The server knows whole seconds, and kube rounds them.
fn parameters(since: Option<Timestamp>) -> LogParams {
    let earlier = |at: Timestamp| at.checked_sub(SignedDuration::from_secs(1)).unwrap_or(at);
    LogParams {
        container: Some(CONTAINER.to_owned()),
        timestamps: true,
        since_time: since.map(earlier),
        ..LogParams::default()
    }
}

/// Opens a log, of the first container of a pod that has none of the platform's name.
async fn open(api: &Api<Pod>, name: &str, parameters: &LogParams) -> kube::Result<impl AsyncBufRead + use<>> {
    match api.log_stream(name, parameters).await {
        Err(kube::Error::Api(status))
            if status.code == 400 && status.message.contains("is not valid for pod") =>
        {
            let pod = api.get(name).await?;
            let container = Some(meant(&pod).to_owned());
            api.log_stream(name, &LogParams { container, ..parameters.clone() }).await
        }
        answer => answer,
    }
}

/// The lines that exist.
pub(super) async fn history(
    shared: &Shared,
    namespace: &str,
    name: &str,
    options: &LogOptions,
) -> Result<BoxStream<LogLine>> {
    let api: Api<Pod> = shared.api(namespace);
    let parameters = LogParams {
        previous: options.previous,
        // To follow from the end one has to know where it is.
        tail_lines: options.tail.map(|tail| {
            let tail = if options.follow { tail.max(1) } else { tail };
            i64::try_from(tail).unwrap_or(i64::MAX)
        }),
        ..parameters(options.since)
    };
    match open(&api, name, &parameters).await {
        Ok(reader) => Ok(lines(reader, InstanceId(name.to_owned()))),
        // It has not started, was never restarted, or is gone: there are no lines.
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => Ok(Box::pin(stream::empty())),
        Err(error) => Err(failed(OPERATION, error).with_context("instance", name)),
    }
}

/// The lines after a position, as they come, until the process ends; nothing if there is none yet.
pub(super) async fn live(
    shared: &Shared,
    namespace: &str,
    name: &str,
    position: Position,
) -> Result<Option<BoxStream<LogLine>>> {
    let api: Api<Pod> = shared.api(namespace);
    let parameters = LogParams { follow: true, ..parameters(position.0) };
    match open(&api, name, &parameters).await {
        Ok(reader) => Ok(Some(lines(reader, InstanceId(name.to_owned())))),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => Ok(None),
        Err(error) => Err(failed(OPERATION, error).with_context("instance", name)),
    }
}

/// Lines with the times that the kubelet put before them.
fn lines(reader: impl AsyncBufRead + Send + 'static, instance: InstanceId) -> BoxStream<LogLine> {
    let begin = (Box::pin(reader), instance, Timestamp::UNIX_EPOCH);
    Box::pin(stream::unfold(begin, |(mut reader, instance, last)| async move {
        let mut bytes = Vec::new();
        match reader.read_until(b'\n', &mut bytes).await {
            Ok(0) => None,
            Ok(_) => {
                let line = parse(&bytes, &instance, last);
                let at = line.at;
                Some((Ok(line), (reader, instance, at)))
            }
            // The connection ended in the middle; whoever follows opens another one.
            Err(error) => {
                tracing::debug!(%error, %instance, "a log was cut");
                None
            }
        }
    }))
}

/// A line without a time has that of the line before.
fn parse(bytes: &[u8], instance: &InstanceId, last: Timestamp) -> LogLine {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    let (at, text) = match text.split_once(' ').map(|(at, text)| (at.parse::<Timestamp>(), text)) {
        Some((Ok(at), text)) => (at.max(last), text),
        _ => match text.parse::<Timestamp>() {
            Ok(at) => (at.max(last), ""), // an empty line
            Err(_) => (last, text),
        },
    };
    LogLine { instance: instance.clone(), at, stream: LogStream::Stdout, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_time_and_without_its_end() {
        let instance = InstanceId("a".to_owned());
        let line = parse(b"2026-11-26T16:00:00.000000001Z hello there \n", &instance, Timestamp::UNIX_EPOCH);
        assert_eq!(line.text, "hello there ");
        assert_eq!(line.at.subsec_nanosecond(), 1);
        let odd = parse(b"no time \xff\n", &instance, line.at);
        assert_eq!((odd.at, odd.text.as_str()), (line.at, "no time \u{fffd}"));
        assert_eq!(parse(b"2026-11-26T16:00:01Z\n", &instance, line.at).text, "");
    }
}
