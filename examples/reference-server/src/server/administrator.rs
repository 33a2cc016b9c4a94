//! The administrator's token: made at the first start and printed once, or given in a file.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use paas_core::action::GrantRole;
use paas_core::engine::{Platform, Session};
use paas_core::port::{Role, Scope};
use paas_core::tenancy::Actor;
use paas_core::{Error, ErrorKind};

use super::accounts::{Accounts, CreateToken, RevokeToken};
use super::options::ServerArgs;
use super::token::Token;

/// Who the token belongs to.
const ADMINISTRATOR: &str = "user:admin";
/// By which the token of the file is told from others.
const OF_THE_FILE: &str = "of --admin-token-file";

/// Sees to it that there is an administrator who can log in. Returns the token to be shown: it is shown once, and the store has
/// its hash only.
///
/// # Errors
/// If the file holds no token; those of the store.
pub async fn admit(platform: &Platform, accounts: &Accounts, options: &ServerArgs) -> Result<Option<Token>> {
    let system = platform.session(Actor::system());
    let given = match &options.admin_token_file {
        Some(file) => read(file)?,
        None => None,
    };
    if let Some(token) = &given {
        give(&system, accounts, token).await?;
    }
    let description = match (accounts.any().await?, options.new_admin_token) {
        (false, _) => "made at the first start",
        (true, true) => "made by --new-admin-token",
        (true, false) => return Ok(None),
    };
    let token = Token::generate().map_err(|error| anyhow!("failed to draw random bits: {error}"))?;
    create(&system, &token, description).await?;
    Ok(Some(token))
}

/// The token of the file. That the file is not there yet keeps no server from starting: a secret of a cluster may be made later.
fn read(file: &Path) -> Result<Option<Token>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!(file = %file.display(), "there is no file with the administrator's token");
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", file.display())),
    };
    // What is in it may be a secret of another kind: it is not told.
    let token = Token::parse(text.trim()).with_context(|| {
        format!("--admin-token-file: {} holds no token. Run `paas init` to make one", file.display())
    })?;
    Ok(Some(token))
}

/// Makes `token` the one of the file: those that were in it before end.
async fn give(system: &Session, accounts: &Accounts, token: &Token) -> Result<()> {
    for before in accounts.described(ADMINISTRATOR, OF_THE_FILE).await? {
        let id = before.view.id.clone();
        if id == token.id() && before.hash == token.hash() {
            continue;
        }
        match system.perform(RevokeToken { id }).await {
            // Another server that starts now has done so.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    if accounts.find(token).await?.is_some() {
        return Ok(());
    }
    match create(system, token, OF_THE_FILE).await {
        // Of servers that start at once, one makes it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && accounts.find(token).await?.is_some() => {
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}

/// Makes the token that of an administrator. Whoever may start a server in its directory may have one: the keys lie there, too.
async fn create(system: &Session, token: &Token, description: &str) -> Result<(), Error> {
    let role =
        GrantRole { actor: ADMINISTRATOR.to_owned(), role: Role::PlatformAdmin, scope: Scope::Platform };
    system.perform(role).await?;
    let action = CreateToken {
        caller: Actor::SYSTEM.to_owned(),
        actor: ADMINISTRATOR.to_owned(),
        description: description.to_owned(),
        expires_in: None,
        id: token.id().to_owned(),
        hash: token.hash(),
    };
    system.perform(action).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use paas_core::SystemClock;
    use paas_core::memory::MemoryStore;
    use paas_core::port::Store;

    use super::*;

    struct Place {
        platform: Platform,
        accounts: Accounts,
        folder: tempfile::TempDir,
    }

    impl Place {
        async fn new() -> Self {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let platform = Platform::in_memory().store(Arc::clone(&store)).build().await.unwrap();
            let accounts = Accounts::new(store, Arc::new(SystemClock));
            Self { platform, accounts, folder: tempfile::tempdir().unwrap() }
        }

        async fn start_with(&self, content: Option<&str>) -> Result<Option<Token>> {
            let mut options = ServerArgs::new(self.folder.path());
            let file = self.folder.path().join("token");
            if let Some(content) = content {
                fs::write(&file, content).unwrap();
            }
            options.admin_token_file = Some(file);
            admit(&self.platform, &self.accounts, &options).await
        }

        async fn knows(&self, token: &Token) -> bool {
            self.accounts.find(token).await.unwrap().is_some()
        }
    }

    #[tokio::test]
    async fn the_token_of_the_file_is_the_administrators_and_nothing_is_shown() {
        let place = Place::new().await;
        let token = Token::generate().unwrap();
        for _ in 0..2 {
            let shown = place.start_with(Some(&format!("{}\n", token.reveal()))).await.unwrap();
            assert!(shown.is_none());
            assert!(place.knows(&token).await);
        }
    }

    #[tokio::test]
    async fn another_token_in_the_file_takes_the_place_of_the_one_before() {
        let place = Place::new().await;
        let (first, second) = (Token::generate().unwrap(), Token::generate().unwrap());
        place.start_with(Some(&first.reveal())).await.unwrap();
        place.start_with(Some(&second.reveal())).await.unwrap();
        assert!(!place.knows(&first).await && place.knows(&second).await);
    }

    #[tokio::test]
    async fn without_the_file_a_token_is_shown_at_the_first_start_and_ends_with_no_file_that_comes() {
        let place = Place::new().await;
        let shown = place.start_with(None).await.unwrap().expect("the first start shows a token");
        assert!(place.start_with(None).await.unwrap().is_none());
        let token = Token::generate().unwrap();
        assert!(place.start_with(Some(&token.reveal())).await.unwrap().is_none());
        assert!(place.knows(&shown).await && place.knows(&token).await);
    }

    #[tokio::test]
    async fn servers_that_start_at_once_agree_on_the_token() {
        let place = Place::new().await;
        let token = Token::generate().unwrap().reveal();
        let (one, other) = tokio::join!(place.start_with(Some(&token)), place.start_with(Some(&token)));
        assert!(one.unwrap().is_none() && other.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused_without_being_told() {
        let place = Place::new().await;
        let error = place.start_with(Some("hunter2")).await.unwrap_err().to_string();
        assert!(error.contains("paas init") && !error.contains("hunter2"), "{error}");
    }
}
