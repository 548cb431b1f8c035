//! Reads the file of the secret at an operator's request.

use super::{Config, Credentials, RenewalError, is_abandoned};
use crate::secret::SecretSource;
use crate::static_credential::BadCredential;

impl Credentials {
    /// Reads the file of the secret now, and returns whether the credential has changed. `None` if there is no file.
    ///
    /// If a client secret has changed, or the last renewal failed, a token is requested at once. The former token stays
    /// in use until then. In all other cases no token is requested: the present one is as good as its successor.
    ///
    /// # Errors
    /// If the file cannot be used, or the token endpoint grants no token.
    pub(crate) async fn reread(&self) -> Option<Result<bool, RenewalError>> {
        self.secret_file()?;
        match &self.0.config {
            Config::ClientCredentials(config) => Some(self.reread_client_secret(&config.client_secret).await),
            Config::Static(_) => Some(self.reread_static().await),
            Config::None => None,
        }
    }

    async fn reread_client_secret(&self, source: &SecretSource) -> Result<bool, RenewalError> {
        let secret = source.read_line_async().await.map_err(BadCredential::from)?;
        let is_last = || self.last_secret().as_ref() == Some(&secret);
        if !is_last() {
            self.state().secret_changed(self.0.clock.now());
        } else if self.state().last_error().is_none() {
            return Ok(false);
        }
        // A renewal under way may have read the former secret. The next one then reads this one. If the file changes
        // once more, the second outcome counts.
        let mut outcome = Ok(true);
        for _ in 0..2 {
            let (number, _) = self.state().next_renewal();
            let renewed = self.join(number).await;
            let is_abandoned = is_abandoned(&renewed);
            outcome = renewed.map(|()| true);
            if is_last() || is_abandoned {
                break;
            }
        }
        outcome
    }

    async fn reread_static(&self) -> Result<bool, RenewalError> {
        let serial = || self.0.cached.load().as_ref().and_then(|cached| cached.credential.serial());
        let before = serial();
        // A read under way may have begun before the file changed.
        let number = self.state().next_start();
        self.join(number).await?;
        Ok(serial() != before)
    }
}
