//! Accounts: register, sign in and out, refresh, change the password.

use super::{
    Actor, Api, App, Error, Origin, Result,
    operations::request_hash,
    passwords::{Asking, Use},
    sessions::session_view,
};
use crate::store::{
    Account, Created, Exchange, FirstToken, Known, NewSession, NewUser, Opened, Operation, Owner,
    PasswordChange, Renewed,
};
use roost_schema::{
    ChangePassword, Email, ErrorCode, Login, Me, NAME_CHARS_MAX, Name, OpId, PASSWORD_CHARS_MAX,
    PASSWORD_CHARS_MIN, Refresh, Register, Secret, Session, SessionId, SignedIn, UserId,
};

/// The name of a session whose program sent no `User-Agent`.
const UNKNOWN_PROGRAM: &str = "unknown program";

impl App {
    /// Authenticates an access token. `api`: the transport it came by. Errors: `unauthenticated`, `session_revoked`.
    pub fn authenticate(&self, token: &str, api: Api) -> Result<Actor> {
        let actor = Actor {
            api,
            ..self.tokens.verify(token, self.store.now())?
        };
        if self.live.revocations.is_revoked(actor.session_id) {
            return Err(session_revoked());
        }
        Ok(actor)
    }

    /// Makes an account and signs in. A repeated operation id signs in again, and checks the password.
    pub async fn register(&self, origin: &Origin, input: Register) -> Result<SignedIn> {
        let email: Email = parse("email", &input.email)?;
        let name: Name = parse("name", &input.name)?;
        check_new_password("password", &input.password)?;
        let operation = input
            .op_id
            .map(|op_id| register_operation(&email, &name, op_id));
        if let Some(operation) = &operation
            && let Some(known) = self.store.operations.known(operation).await?
        {
            return self
                .register_again(origin, &email, &input.password, known)
                .await;
        }
        let user = NewUser {
            id: UserId::generate(),
            password_hash: {
                let asking = origin.asking(Use::Register, None);
                self.passwords.hash(asking, &input.password).await?
            },
            email,
            name,
        };
        let session = self.new_session(origin, user.id);
        let created = self
            .store
            .users
            .create(&user, &session, operation.as_ref())
            .await?;
        match created {
            Created::Account(account) => {
                self.relay_sessions(account.me.id).await;
                self.opened(account.me, session)
            }
            Created::Known(known) => {
                self.register_again(origin, &user.email, &input.password, known)
                    .await
            }
            Created::EmailTaken => Err(Error::conflict(
                "there is an account with this e-mail address already",
            )),
        }
    }

    pub async fn login(&self, origin: &Origin, input: Login) -> Result<SignedIn> {
        // A malformed address is refused like one without an account, after as much work, so that neither shows.
        let account = match input.email.parse::<Email>() {
            Ok(email) => self.store.users.find_by_email(&email).await?,
            Err(_) => None,
        };
        self.sign_in(origin, account, &input.password).await
    }

    /// Exchanges a refresh token for its one successor. The predecessor of the current token gets the same one again
    /// while that is unused; an older token ends the session with `session_revoked`. The cases are in
    /// `docs/decisions/0027-refresh-tokens-have-one-line.md`.
    pub async fn refresh(&self, origin: &Origin, input: Refresh) -> Result<SignedIn> {
        let (presented, place) = (&input.refresh_token, origin.place());
        match self.store.sessions.exchange(presented, &place).await? {
            Exchange::Exchanged(renewed) => {
                if renewed.is_told {
                    let (session, user) = (renewed.session.id, renewed.me.id);
                    tracing::warn!(session.id = %session, user.id = %user, "refresh token exchanged again from elsewhere");
                    self.relay_sessions(user).await;
                }
                self.renewed(renewed)
            }
            Exchange::Reused { session, user } => {
                tracing::warn!(session.id = %session, user.id = %user, "refresh token used again");
                self.end_everywhere(&[session]);
                self.relay_sessions(user).await;
                Err(token_reused())
            }
            Exchange::Revoked { by_reuse: true } => Err(token_reused()),
            Exchange::Revoked { by_reuse: false } => Err(session_revoked()),
            Exchange::Unknown => Err(Error::refused(
                ErrorCode::Unauthenticated,
                "the refresh token is unknown or has expired: sign in",
            )),
        }
    }

    /// Ends the session that asks.
    pub async fn logout(&self, actor: &Actor) -> Result<()> {
        self.end_session(actor, actor.session_id).await
    }

    /// Changes the password, ends every other session, and answers new tokens for this one: its refresh token, which
    /// may have been copied, is good for nothing any more.
    pub async fn change_password(
        &self,
        actor: &Actor,
        origin: &Origin,
        input: ChangePassword,
    ) -> Result<SignedIn> {
        check_new_password("newPassword", &input.new_password)?;
        let account = self.store.users.find(actor.user_id).await?;
        let asking = origin.asking(Use::Change, Some(actor.user_id));
        let account = self
            .verify(asking, account, &input.current_password)
            .await?;
        let fresh = self.passwords.hash(asking, &input.new_password).await?;
        let changing = self.store.users.change_password(
            actor.user_id,
            actor.session_id,
            &account.password_hash,
            &fresh,
        );
        match changing.await? {
            PasswordChange::Changed { renewed, ended } => {
                self.end_everywhere(&ended);
                self.relay_sessions(actor.user_id).await;
                self.renewed(*renewed)
            }
            PasswordChange::Outdated => Err(wrong_credentials()),
            PasswordChange::SessionEnded => Err(session_revoked()),
        }
    }

    pub async fn read_me(&self, actor: &Actor) -> Result<Me> {
        let account = self.store.users.find(actor.user_id).await?;
        Ok(account.ok_or_else(Error::unauthenticated)?.me)
    }

    /// The public keys that verify access tokens, as a JSON Web Key Set.
    pub fn jwks(&self) -> &serde_json::Value {
        self.tokens.jwks()
    }

    async fn register_again(
        &self,
        origin: &Origin,
        email: &Email,
        password: &Secret,
        known: Known,
    ) -> Result<SignedIn> {
        if known == Known::Reused {
            return Err(Error::refused(
                ErrorCode::OpIdReused,
                "this operation id was used with another request",
            ));
        }
        let account = self.store.users.find_by_email(email).await?;
        self.sign_in(origin, account, password).await
    }

    async fn sign_in(
        &self,
        origin: &Origin,
        account: Option<Account>,
        password: &Secret,
    ) -> Result<SignedIn> {
        let asking = origin.asking(Use::SignIn, None);
        let account = self.verify(asking, account, password).await?;
        let session = self.new_session(origin, account.me.id);
        let opened = self
            .store
            .sessions
            .open(&session, &account.password_hash)
            .await?;
        match opened {
            Opened::Opened { ended } => {
                self.end_everywhere(&ended);
                self.relay_sessions(account.me.id).await;
                self.opened(account.me, session)
            }
            Opened::PasswordChanged => Err(wrong_credentials()),
        }
    }

    async fn verify(
        &self,
        asking: Asking,
        account: Option<Account>,
        password: &Secret,
    ) -> Result<Account> {
        if password.expose().chars().count() > PASSWORD_CHARS_MAX {
            return Err(wrong_credentials());
        }
        let hash = account.as_ref().map(|account| &account.password_hash);
        let is_right = self.passwords.verify(asking, password, hash).await?;
        account.filter(|_| is_right).ok_or_else(wrong_credentials)
    }

    fn new_session(&self, origin: &Origin, user: UserId) -> NewSession {
        let id = SessionId::generate();
        NewSession {
            id,
            user,
            name: program_name(origin),
            token: FirstToken::generate(id),
            at: self.store.now(),
        }
    }

    fn opened(&self, me: Me, session: NewSession) -> Result<SignedIn> {
        let token = session.token.text().clone();
        self.signed_in(me, session.into(), token)
    }

    fn renewed(&self, renewed: Renewed) -> Result<SignedIn> {
        let current = Some(renewed.session.id);
        let session = session_view(renewed.session, current);
        self.signed_in(renewed.me, session, renewed.token)
    }

    fn signed_in(&self, user: Me, session: Session, refresh_token: Secret) -> Result<SignedIn> {
        let now = self.store.now();
        let (access_token, access_expires_at) = self.tokens.issue(user.id, session.id, now)?;
        Ok(SignedIn {
            user,
            session,
            access_token,
            access_expires_at,
            refresh_token,
        })
    }
}

impl From<NewSession> for Session {
    fn from(new: NewSession) -> Self {
        Self {
            id: new.id,
            name: new.name,
            created_at: new.at,
            last_used_at: new.at,
            reused_elsewhere_at: None,
            current: true,
        }
    }
}

pub(super) fn parse<T: std::str::FromStr<Err = roost_schema::Invalid>>(
    field: &'static str,
    text: &str,
) -> Result<T> {
    text.parse().map_err(|problem: T::Err| Error::Invalid {
        field,
        problem: problem.0,
    })
}

fn check_new_password(field: &'static str, password: &Secret) -> Result<()> {
    let problem = match password.expose().chars().count() {
        ..PASSWORD_CHARS_MIN => "is shorter than 8 characters",
        PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX => return Ok(()),
        _ => "is longer than 128 characters",
    };
    Err(Error::Invalid { field, problem })
}

/// The request hash leaves out the password: no digest of one may be kept.
fn register_operation(email: &Email, name: &Name, op_id: OpId) -> Operation {
    Operation {
        owner: Owner::Address(email.clone()),
        op_id,
        request_hash: request_hash("register", &(email, name)),
    }
}

/// The name of a session until its person names it: the program's `User-Agent`.
fn program_name(origin: &Origin) -> String {
    let agent = origin.user_agent.as_deref().unwrap_or_default();
    let shown: String = agent
        .chars()
        .filter(|character| !character.is_control())
        .take(NAME_CHARS_MAX)
        .collect();
    match shown.trim() {
        "" => UNKNOWN_PROGRAM.to_owned(),
        shown => shown.to_owned(),
    }
}

fn wrong_credentials() -> Error {
    Error::refused(
        ErrorCode::WrongCredentials,
        "the e-mail address and the password do not belong together",
    )
}

pub(super) fn session_revoked() -> Error {
    Error::refused(
        ErrorCode::SessionRevoked,
        "the session was ended: sign in again",
    )
}

fn token_reused() -> Error {
    Error::refused(
        ErrorCode::SessionRevoked,
        "the session was ended because an old refresh token was used again: sign in",
    )
}
