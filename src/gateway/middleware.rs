//! A layer that is one async method around the rest of the stack.
//!
//! tower's `Layer` and `Service` ask for two types, a future type and `poll_ready` for each
//! layer, which hides the three lines that matter. Here a layer is a [`Step`]; [`around`] makes
//! it a `Layer`. Its price is one boxed future a step.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;
use tower::{Layer, Service};

/// What a layer does around `rest`.
pub trait Step<S>: Clone {
    /// What the layer answers.
    type Response;
    /// How the layer fails.
    type Error;

    /// Handles one request, by `rest.oneshot(request)` or without it.
    fn run(
        self,
        request: Request<Incoming>,
        rest: S,
    ) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send + 'static;
}

/// The layer that does `step`.
pub fn around<T>(step: T) -> Around<T> {
    Around(step)
}

/// A [`Step`] as a layer.
#[derive(Clone, Debug)]
pub struct Around<T>(T);

impl<T: Clone, S> Layer<S> for Around<T> {
    type Service = Surrounded<T, S>;

    fn layer(&self, rest: S) -> Surrounded<T, S> {
        Surrounded { step: self.0.clone(), rest }
    }
}

/// The rest of a stack with a [`Step`] around it.
#[derive(Clone, Debug)]
pub struct Surrounded<T, S> {
    step: T,
    rest: S,
}

impl<T, S> Service<Request<Incoming>> for Surrounded<T, S>
where
    T: Step<S>,
    S: Clone,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<T::Response, T::Error>> + Send>>;

    /// Always ready: the step waits for the rest, so that it also sees the rest's refusal to
    /// become ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.step.clone().run(request, self.rest.clone()))
    }
}
