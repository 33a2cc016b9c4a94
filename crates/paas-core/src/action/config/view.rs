//! Configurations as people see them: of secrets the name, the version and the time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::load;
use crate::action::{Action, Effect, ListPage, PageOptions, Work};
use crate::engine::{ConfigRecord, Record as _, SecretRecord, number_name};
use crate::error::{Error, ErrorKind, Result};
use crate::model::ConfigEntry;
use crate::name::AppEnv;
use crate::port::{Permission, Scope};
use crate::tenancy::permissions;

/// A version of the configuration, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigView {
    /// The number; 0 is the empty one.
    pub version: u64,
    /// Whether it is the newest one.
    pub latest: bool,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Settings and secrets by name.
    pub items: BTreeMap<String, ConfigItem>,
}

/// A setting, or that there is a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigItem {
    /// A setting.
    Setting {
        /// Its value.
        value: String,
    },
    /// A secret, without its value.
    Secret(SecretView),
}

/// What may be known of a version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretView {
    /// The version.
    pub version: u64,
    /// When it was set; absent if the version is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub set_at: Option<Timestamp>,
    /// Who set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by: Option<String>,
    /// Whether it may no longer be used.
    pub revoked: bool,
}

/// A version of the configuration in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigSummary {
    /// The number.
    pub version: u64,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// How many settings it has.
    pub settings: usize,
    /// How many secrets it has.
    pub secrets: usize,
}

/// Shows a version of the configuration.
#[derive(Debug, Clone)]
pub struct GetConfig {
    /// Where.
    pub at: AppEnv,
    /// Which version; the newest if absent.
    pub version: Option<u64>,
}

#[async_trait]
impl Action for GetConfig {
    type Output = ConfigView;
    const NAME: &'static str = "config.get";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::CONFIG_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        // Before the first release or setting the configuration is empty, not missing.
        let latest = match work.place(&self.at).await {
            Ok(place) => place.value.config,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                work.app(&self.at.app_ref()).await?;
                work.env(&self.at.env_ref()).await?;
                0
            }
            Err(error) => return Err(error),
        };
        let number = self.version.unwrap_or(latest);
        if number > latest {
            return Err(Error::not_found("version of the configuration", number)
                .with_context("application", &self.at));
        }
        let version = load(work, &self.at, number).await?;
        let mut items = BTreeMap::new();
        for (name, entry) in version.entries {
            let item = match entry {
                ConfigEntry::Setting(value) => ConfigItem::Setting { value },
                ConfigEntry::Secret(secret) => {
                    let key = SecretRecord::key_of(&self.at, &secret.name, secret.version);
                    let record =
                        work.collections().get::<SecretRecord>(&key).await?.map(|record| record.value);
                    ConfigItem::Secret(SecretView {
                        version: secret.version,
                        set_at: record.as_ref().map(|record| record.created_at),
                        set_by: record.as_ref().map(|record| record.created_by.clone()),
                        revoked: record.is_none_or(|record| record.revoked.is_some()),
                    })
                }
            };
            items.insert(name, item);
        }
        Ok(ConfigView {
            version: number,
            latest: number == latest,
            created_at: version.created_at,
            created_by: version.created_by,
            items,
        })
    }
}

/// Lists the versions of the configuration, the newest first.
#[derive(Debug, Clone)]
pub struct ListConfigHistory {
    /// Where.
    pub at: AppEnv,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListConfigHistory {
    type Output = ListPage<ConfigSummary>;
    const NAME: &'static str = "config.history";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::CONFIG_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut options = self.page.list(ConfigRecord::KIND, &self.at.to_string(), true)?;
        // People pass numbers as they see them; names are padded.
        if let Some(after) = &mut options.after
            && let Ok(number) = after.name.parse()
        {
            after.name = number_name(number);
        }
        let page = work.collections().page::<ConfigRecord>(options).await?;
        let items = page
            .items
            .into_iter()
            .map(|record| {
                let version = record.value.version;
                let is_secret = |entry: &&ConfigEntry| matches!(entry, ConfigEntry::Secret(_));
                let secrets = version.entries.values().filter(is_secret).count();
                ConfigSummary {
                    version: version.number,
                    created_at: version.created_at,
                    created_by: version.created_by,
                    settings: version.entries.len() - secrets,
                    secrets,
                }
            })
            .collect();
        Ok(ListPage { items, next: page.next.map(|key| key.name.trim_start_matches('0').to_owned()) })
    }
}
