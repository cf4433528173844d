//! Forged, foreign, torn and expired tokens.

use super::*;
use roost_schema::ErrorCode;
use serde_json::{Value, json};

/// A server's tokens, the key they are signed with, and one good token.
struct World {
    tokens: Tokens,
    pem: Secret,
    actor: Actor,
    good: String,
    now: DateTime<Utc>,
}

impl World {
    fn new() -> Self {
        let pem = Tokens::generate_key().unwrap();
        let tokens = Tokens::new(settings(), std::slice::from_ref(&pem)).unwrap();
        let now = Utc::now();
        let (user_id, session_id) = (UserId::generate(), SessionId::generate());
        let (good, expires_at) = tokens.issue(user_id, session_id, now).unwrap();
        Self {
            tokens,
            pem,
            actor: Actor {
                user_id,
                session_id,
                expires_at,
                api: Api::Rest,
            },
            good: good.expose().to_owned(),
            now,
        }
    }

    fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "JWT", "kid": self.tokens.kid })
    }

    fn claims(&self) -> Value {
        let payload = self.good.split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap()
    }

    fn assert_refused(&self, token: &str, why: &str) {
        match self.tokens.verify(token, self.now) {
            Err(error) => assert_eq!(error.code(), ErrorCode::Unauthenticated, "{why}"),
            Ok(_) => panic!("accepted although {why}"),
        }
    }
}

fn settings() -> TokenSettings {
    TokenSettings {
        issuer: "roost".into(),
        audience: "roost".into(),
        lifetime: Duration::from_mins(5),
    }
}

/// Any header over any claims, with whatever signature the closure makes.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = BASE64URL.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn signed(pem: &Secret, header: &Value, claims: &Value) -> String {
    use ed25519_dalek::Signer;
    let key = read_key(pem).unwrap();
    token(header, claims, |message| {
        key.sign(message).to_bytes().to_vec()
    })
}

fn with(value: &Value, name: &str, other: Value) -> Value {
    let mut value = value.clone();
    value[name] = other;
    value
}

#[test]
fn a_token_speaks_for_its_session_at_once_and_remembered() {
    let world = World::new();
    for _ in 0..2 {
        let actor = world.tokens.verify(&world.good, world.now).unwrap();
        assert_eq!(actor, world.actor);
    }
    let forger_can_sign = signed(&world.pem, &world.header(), &world.claims());
    assert!(
        world.tokens.verify(&forger_can_sign, world.now).is_ok(),
        "what the tests below forge is good but for what they change"
    );
}

#[test]
fn a_signature_by_no_key_of_ours_is_refused() {
    let world = World::new();
    let (header, claims) = (world.header(), world.claims());
    let foreign = Tokens::generate_key().unwrap();
    world.assert_refused(&signed(&foreign, &header, &claims), "another key signed");
    world.assert_refused(&token(&header, &claims, |_| vec![]), "nobody signed");
    for alg in ["none", "None", "NONE"] {
        let header = with(&header, "alg", json!(alg));
        world.assert_refused(&token(&header, &claims, |_| vec![]), "alg is none");
        world.assert_refused(&signed(&world.pem, &header, &claims), "alg is none");
    }
    let [head, _, signature] = world.good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let other = with(&claims, "sub", json!(UserId::generate()));
    let other = BASE64URL.encode(other.to_string());
    let swapped = format!("{head}.{other}.{signature}");
    world.assert_refused(&swapped, "the claims were changed");
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let world = World::new();
    let key = read_key(&world.pem).unwrap().verifying_key();
    let x = BASE64URL.encode(key);
    for secret in [key.as_bytes().as_slice(), x.as_bytes()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(world.tokens.kid.clone());
        let secret = EncodingKey::from_secret(secret);
        let forged = jsonwebtoken::encode(&header, &world.claims(), &secret).unwrap();
        world.assert_refused(&forged, "HS256 with the public key");
    }
}

#[test]
fn a_header_brings_no_key_along() {
    let world = World::new();
    let foreign = Tokens::generate_key().unwrap();
    let x = BASE64URL.encode(read_key(&foreign).unwrap().verifying_key());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": thumbprint(&x) });
    let claims = world.claims();
    for kid in [json!(world.tokens.kid), jwk["kid"].clone()] {
        let header = with(&world.header(), "kid", kid);
        for (name, value) in [
            ("jwk", jwk.clone()),
            ("jku", json!("https://example.com/jwks.json")),
            ("x5u", json!("https://example.com/certificate.pem")),
        ] {
            let header = with(&header, name, value);
            world.assert_refused(&signed(&foreign, &header, &claims), name);
        }
    }
    let unknown = with(&world.header(), "kid", json!("unknown"));
    world.assert_refused(&signed(&world.pem, &unknown, &claims), "the kid is unknown");
    let mut without = world.header();
    without.as_object_mut().unwrap().remove("kid");
    world.assert_refused(&signed(&world.pem, &without, &claims), "there is no kid");
}

#[test]
fn a_header_that_must_be_understood_is_refused() {
    let world = World::new();
    for critical in [json!(["b64"]), json!(["exp"]), json!([])] {
        let header = with(&world.header(), "crit", critical);
        let header = with(&header, "b64", json!(false));
        let token = signed(&world.pem, &header, &world.claims());
        world.assert_refused(&token, "its header has crit");
    }
}

#[test]
fn a_token_is_not_good_before_its_time() {
    let world = World::new();
    for (from_now, is_good) in [(0, true), (-60, true), (60, false)] {
        let begins = json!(world.now.timestamp() + from_now);
        let claims = with(&world.claims(), "nbf", begins);
        let token = signed(&world.pem, &world.header(), &claims);
        let is_taken = world.tokens.verify(&token, world.now).is_ok();
        assert_eq!(is_taken, is_good, "in {from_now} s");
    }
    let claims = with(&world.claims(), "nbf", json!("never"));
    world.assert_refused(
        &signed(&world.pem, &world.header(), &claims),
        "its nbf is text",
    );
}

#[test]
fn systems_with_one_key_and_other_names_refuse_each_others_tokens() {
    let world = World::new();
    for (issuer, audience) in [("roost", "another"), ("another", "roost")] {
        let settings = TokenSettings {
            issuer: issuer.into(),
            audience: audience.into(),
            ..settings()
        };
        let other = Tokens::new(settings, std::slice::from_ref(&world.pem)).unwrap();
        assert!(other.verify(&world.good, world.now).is_err());
        let (theirs, _) = other
            .issue(world.actor.user_id, world.actor.session_id, world.now)
            .unwrap();
        world.assert_refused(theirs.expose(), "it is another system's");
    }
}

#[test]
fn every_claim_is_required_and_judged() {
    let world = World::new();
    for name in ["iss", "aud", "sub", "sid", "iat", "exp", "jti"] {
        let mut claims = world.claims();
        claims.as_object_mut().unwrap().remove(name);
        world.assert_refused(&signed(&world.pem, &world.header(), &claims), name);
    }
    for (name, value) in [
        ("iss", json!("somebody")),
        ("iss", json!(["roost", "somebody"])),
        ("aud", json!("somebody")),
        ("aud", json!(7)),
        ("sub", json!("ann")),
        ("exp", json!("never")),
        ("exp", json!(1)),
        ("exp", json!(-1)),
        ("exp", json!(i64::MAX)),
    ] {
        let claims = with(&world.claims(), name, value.clone());
        let forged = signed(&world.pem, &world.header(), &claims);
        world.assert_refused(&forged, &format!("{name} is {value}"));
    }
}

#[test]
fn a_lifetime_longer_than_any_that_can_be_configured_is_refused() {
    let world = World::new();
    let at = |from_now: TimeDelta| json!((world.now + from_now).timestamp());
    let hour = TimeDelta::from_std(ACCESS_TOKEN_LIFETIME_MAX).unwrap();
    let years = TimeDelta::days(3_650);
    for (issued, expires, is_good) in [
        (TimeDelta::zero(), hour, true),
        (-hour / 2, hour / 2, true),
        (TimeDelta::zero(), years, false),
        (years - hour, years, false),
        (-years, hour, false),
        (TimeDelta::minutes(1), TimeDelta::minutes(6), false),
        (-TimeDelta::minutes(1), hour, false),
    ] {
        let claims = with(&world.claims(), "iat", at(issued));
        let claims = with(&claims, "exp", at(expires));
        let token = signed(&world.pem, &world.header(), &claims);
        let is_taken = world.tokens.verify(&token, world.now).is_ok();
        assert_eq!(is_taken, is_good, "from {issued} to {expires}");
    }
}

#[test]
fn instances_of_different_lifetimes_take_each_others_tokens() {
    let world = World::new();
    let of = |lifetime| {
        let settings = TokenSettings {
            lifetime,
            ..settings()
        };
        Tokens::new(settings, std::slice::from_ref(&world.pem)).unwrap()
    };
    let (short, long) = (of(Duration::from_secs(10)), of(ACCESS_TOKEN_LIFETIME_MAX));
    for (issuer, reader) in [(&short, &long), (&long, &short)] {
        let actor = world.actor;
        let issued = issuer.issue(actor.user_id, actor.session_id, world.now);
        let (token, _) = issued.unwrap();
        assert!(reader.verify(token.expose(), world.now).is_ok());
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let world = World::new();
    let long = format!("{}{}", world.good, "A".repeat(TOKEN_BYTES_MAX));
    for text in ["", ".", "..", "a.b.c", &world.good[1..], &long, "é.é.é"] {
        world.assert_refused(text, "it is no token");
    }
}

#[test]
fn a_token_expires_also_when_it_is_remembered() {
    let world = World::new();
    let last = world.actor.expires_at + LEEWAY;
    let just = last - TimeDelta::microseconds(1);
    assert!(world.tokens.verify(&world.good, just).is_ok());
    assert!(world.tokens.verify(&world.good, last).is_err());
}

#[test]
fn a_former_key_verifies_and_does_not_sign() {
    let world = World::new();
    let fresh = Tokens::generate_key().unwrap();
    let both = Tokens::new(settings(), &[fresh, world.pem.clone()]).unwrap();
    assert!(both.verify(&world.good, world.now).is_ok());
    let (user, session) = (world.actor.user_id, world.actor.session_id);
    let (new, _) = both.issue(user, session, world.now).unwrap();
    world.assert_refused(new.expose(), "the server does not know the new key");
}

#[test]
fn published_keys_verify_and_tell_no_secret() {
    let world = World::new();
    let set: jsonwebtoken::jwk::JwkSet =
        serde_json::from_value(world.tokens.jwks().clone()).unwrap();
    let jwk = set.find(&world.tokens.kid).unwrap();
    let key = DecodingKey::from_jwk(jwk).unwrap();
    let read = jsonwebtoken::decode::<Claims>(&world.good, &key, &validation("roost", "roost"));
    assert_eq!(read.unwrap().claims.sid, world.actor.session_id);
    assert!(world.tokens.jwks()["keys"][0].get("d").is_none());
}

#[test]
fn lifetimes_beyond_what_revocations_are_kept_for_are_refused() {
    let pem = Tokens::generate_key().unwrap();
    let second = Duration::from_secs(1);
    for lifetime in [Duration::ZERO, ACCESS_TOKEN_LIFETIME_MAX + second] {
        let settings = TokenSettings {
            lifetime,
            ..settings()
        };
        assert!(Tokens::new(settings, std::slice::from_ref(&pem)).is_err());
    }
    assert!(Tokens::new(settings(), &[]).is_err());
    assert!(Tokens::new(settings(), &[Secret::new("no key")]).is_err());
}

#[test]
fn a_ticket_is_for_one_room_and_a_while_and_no_token() {
    let world = World::new();
    let room = RoomId::generate();
    let (ticket, expires_at) = world
        .tokens
        .issue_ticket(&world.actor, room, world.now)
        .unwrap();
    assert!(ticket.expose().len() <= 800, "as the contract says");
    let read = |room, now| world.tokens.read_ticket(ticket.expose(), room, now);
    assert_eq!(read(room, world.now).unwrap().actor, world.actor);
    assert!(read(RoomId::generate(), world.now).is_none());
    assert!(read(room, expires_at).is_none());
    world.assert_refused(ticket.expose(), "it is a ticket");
    let token = world.tokens.read_ticket(&world.good, room, world.now);
    assert!(token.is_none());
    let foreign = Tokens::generate_key().unwrap();
    let others = Tokens::new(settings(), &[foreign]).unwrap();
    assert!(
        others
            .read_ticket(ticket.expose(), room, world.now)
            .is_none()
    );
}
