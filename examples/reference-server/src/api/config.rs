//! Settings and secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use paas_core::action::{
    ConfigChange, ConfigSummary, ConfigView, ConfigWritten, GetConfig, ListConfigHistory, ListPage,
    RevokeSecret, SetConfig, SetSecret, UnsetSecret,
};
use paas_core::port::SecretValue;
use paas_core::{AppEnv, AppName, EnvName, Fault, OrgName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Outcome};
use super::app::here;
use super::auth::Caller;
use super::extract::{JsonBody, Names, PrivateBody, Query};
use super::operation::{Routes, delete, get, patch, put};
use crate::rest::change::NewSecret;
use crate::rest::page::Paging;
use crate::rest::problem::Problem;

const TAG: &str = "configuration";

#[derive(Deserialize)]
pub struct SecretPath {
    org: OrgName,
    env: EnvName,
    app: AppName,
    secret: String,
}

#[derive(Deserialize)]
pub struct VersionPath {
    org: OrgName,
    env: EnvName,
    app: AppName,
    secret: String,
    version: u64,
}

/// Which version of the configuration.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionQuery {
    /// The number; the newest if absent.
    #[serde(default)]
    version: Option<u32>,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get(&here("/config"), TAG, "getConfig", "Settings, and secrets without their values")
                .query::<VersionQuery>()
                .gives::<ConfigView>(200, "A version of the configuration."),
            show,
        )
        .add(
            patch(&here("/config"), TAG, "changeConfig", "Sets and unsets settings")
                .about("It comes into force with the next release.")
                .if_match()
                .body::<ConfigChange>()
                .gives::<ConfigWritten>(200, "The new version."),
            change,
        )
        .add(
            get(&here("/config/history"), TAG, "listConfigHistory", "All versions, the newest first")
                .query::<Paging>()
                .gives::<ListPage<ConfigSummary>>(200, "A page of versions."),
            history,
        )
        .add(
            put(&here("/secrets/{secret}"), TAG, "setSecret", "Gives a secret a new value")
                .about("It comes into force with the next release. No answer ever shows the value.")
                .body::<NewSecret>()
                .gives::<ConfigWritten>(200, "The new version."),
            set_secret,
        )
        .add(
            delete(&here("/secrets/{secret}"), TAG, "unsetSecret", "Takes a secret out of the configuration")
                .about("Releases that use it keep it.")
                .gives::<ConfigWritten>(200, "The new version."),
            unset_secret,
        )
        .add(
            delete(
                &here("/secrets/{secret}/versions/{version}"),
                TAG,
                "revokeSecret",
                "Destroys a version of a secret for good",
            )
            .gives_nothing(204, "It is gone."),
            revoke_secret,
        )
}

async fn show(
    caller: Caller,
    Names(at): Names<AppEnv>,
    Query(query): Query<VersionQuery>,
) -> Outcome<ConfigView> {
    Ok(Answer::ok(caller.perform(GetConfig { at, version: query.version.map(u64::from) }).await?))
}

async fn change(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(change): JsonBody<ConfigChange>,
) -> Outcome<ConfigWritten> {
    Ok(Answer::ok(caller.perform(SetConfig { at, change }).await?))
}

async fn history(
    caller: Caller,
    Names(at): Names<AppEnv>,
    Query(paging): Query<Paging>,
) -> Outcome<ListPage<ConfigSummary>> {
    Ok(Answer::ok(caller.perform(ListConfigHistory { at, page: paging.into() }).await?))
}

async fn set_secret(
    caller: Caller,
    Names(path): Names<SecretPath>,
    PrivateBody(new): PrivateBody<NewSecret>,
) -> Outcome<ConfigWritten> {
    let value = match new {
        NewSecret::Text(text) => SecretValue::new(text),
        NewSecret::Base64(text) => {
            // The fault does not quote what may be a secret.
            let bytes = STANDARD.decode(text).map_err(|_| {
                let fault = Fault::new("base64", "is not base64 with padding, as RFC 4648 defines it");
                Problem::malformed("the value of the secret cannot be read", vec![fault])
            })?;
            SecretValue::new(bytes)
        }
    };
    let at = AppEnv { org: path.org, env: path.env, app: path.app };
    Ok(Answer::ok(caller.perform(SetSecret { at, name: path.secret, value }).await?))
}

async fn unset_secret(caller: Caller, Names(path): Names<SecretPath>) -> Outcome<ConfigWritten> {
    let at = AppEnv { org: path.org, env: path.env, app: path.app };
    Ok(Answer::ok(caller.perform(UnsetSecret { at, name: path.secret }).await?))
}

async fn revoke_secret(caller: Caller, Names(path): Names<VersionPath>) -> Outcome<()> {
    let at = AppEnv { org: path.org, env: path.env, app: path.app };
    caller.perform(RevokeSecret { at, name: path.secret, version: path.version }).await?;
    Ok(Answer::nothing())
}
