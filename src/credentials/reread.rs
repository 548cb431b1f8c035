//! Reads the file of the secret at an operator's request.

use super::{Config, Credentials, RenewalError, RenewalErrorKind, is_abandoned};
use crate::secret::SecretSource;
use crate::static_credential::{BadCredential, StaticCredential};

impl Credentials {
    /// Reads the file of the secret now, and returns whether it has changed. `None` if there is no file.
    ///
    /// If a client secret has changed, a token is requested with it at once. The former token stays in use until then.
    /// If it has not changed, no token is requested: the present one is as good as its successor.
    ///
    /// # Errors
    /// If the file cannot be used, or the token endpoint grants no token for the changed secret.
    pub(crate) async fn reread(&self) -> Option<Result<bool, RenewalError>> {
        match &self.0.config {
            Config::ClientCredentials(config) => match &config.client_secret {
                source @ SecretSource::File(_) => Some(self.reread_client_secret(source).await),
                SecretSource::Value(_) => None,
            },
            Config::Static(StaticCredential { secret: SecretSource::File(_), .. }) => Some(self.reread_static().await),
            Config::Static(_) | Config::None => None,
        }
    }

    async fn reread_client_secret(&self, source: &SecretSource) -> Result<bool, RenewalError> {
        let secret = source.read_async().await.map_err(BadCredential::from)?;
        let is_in_use = || self.last_secret().as_ref() == Some(&secret);
        if is_in_use() {
            return Ok(false);
        }
        self.state().secret_changed(self.0.clock.now());
        // A renewal under way may have read the former secret. The next one then reads this one.
        for _ in 0..2 {
            let (number, _) = self.state().next_renewal();
            let outcome = self.join(number).await;
            if is_in_use() || is_abandoned(&outcome) {
                return outcome.map(|()| true);
            }
        }
        // The file has changed once more.
        Err(RenewalErrorKind::Abandoned.into())
    }

    async fn reread_static(&self) -> Result<bool, RenewalError> {
        let serial = || self.0.cached.load().as_ref().and_then(|cached| cached.credential.serial());
        let before = serial();
        let (number, _) = self.state().next_renewal();
        self.join(number).await?;
        Ok(serial() != before)
    }
}
