//! The gRPC surface as a client without our port sees it.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use contracts::r#gen::auth::{
    GetPublicKeysRequest, ValidateTokenRequest, auth_service_client::AuthServiceClient,
};
use kit::Call;
use tonic::{Code, Status, transport::Endpoint};

use super::{config, remote, worlds};

fn refusal(status: &Status) -> (Code, &str) {
    let word = status.metadata().get("fault-code").unwrap();
    (status.code(), word.to_str().unwrap())
}

/// row:A06: a good token tells who it is, with the address of today; any other tells nothing.
#[tokio::test]
async fn a_token_is_validated_over_grpc() {
    for world in worlds(&config()).await {
        let door = world.door();
        let made = door.register("ann").await;
        let token = made.text("access_token");
        let (_, channel) = remote::offer(&world).await;
        let mut client = AuthServiceClient::new(channel);
        let mut ask = async |token: &str| {
            let token = token.to_owned();
            let answer = client.validate_token(ValidateTokenRequest { token }).await;
            answer.map(tonic::Response::into_inner)
        };
        let caller = ask(&token).await.unwrap();
        let ann = world.user.by_username(&Call::internal("test"), "ann").await;
        let ann = ann.unwrap().unwrap();
        assert_eq!(caller.user_id, ann.id.to_string(), "{}", world.engine);
        assert_eq!((caller.username.as_str(), caller.email), ("ann", ann.email));
        assert!(!caller.session_id.is_empty() && caller.expires_ms > super::NOW_MS);

        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (_, claims) = signed.split_once('.').unwrap();
        let none = BASE64.encode(r#"{"alg":"none","typ":"at+jwt","kid":"a"}"#);
        for forged in [
            String::new(),
            "x.y.z".to_owned(),
            format!("{signed}.{}", signature.chars().rev().collect::<String>()),
            format!("{none}.{claims}."),
        ] {
            let status = ask(&forged).await.unwrap_err();
            assert_eq!(refusal(&status), (Code::Unauthenticated, "unauthorized"));
        }
        world.clock.advance(15 * 60 * 1000);
        let status = ask(&token).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::Unauthenticated, "token_expired"));
    }
}

/// row:A19: without the credential of the processes nobody is answered, not even about public keys.
#[tokio::test]
async fn strangers_are_not_answered() {
    let world = worlds(&config()).await.remove(0);
    let (address, _) = remote::offer(&world).await;
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    let answer = AuthServiceClient::new(channel)
        .get_public_keys(GetPublicKeysRequest {})
        .await;
    assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
}
