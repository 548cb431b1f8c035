//! A layer that is one async method around the next of the stack.
//!
//! tower's `Layer` and `Service` ask for two types, a future type and `poll_ready` for each
//! layer, which hides the three lines that matter. Here a layer is a [`Middleware`]; [`layer`] makes
//! it a `Layer`. Its price is one boxed future a step.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;
use tower::{Layer, Service};

/// What a layer does around `next`.
pub(crate) trait Middleware<S>: Clone {
    /// What the layer answers.
    type Response;
    /// How the layer fails.
    type Error;

    /// Handles one request, by `next.oneshot(request)` or without it.
    fn run(
        self,
        request: Request<Incoming>,
        next: S,
    ) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send + 'static;
}

/// The layer that does `step`.
pub(crate) fn layer<T>(middleware: T) -> MiddlewareLayer<T> {
    MiddlewareLayer(middleware)
}

/// A [`Middleware`] as a layer.
#[derive(Clone, Debug)]
pub(crate) struct MiddlewareLayer<T>(T);

impl<T: Clone, S> Layer<S> for MiddlewareLayer<T> {
    type Service = MiddlewareService<T, S>;

    fn layer(&self, next: S) -> MiddlewareService<T, S> {
        MiddlewareService { middleware: self.0.clone(), next }
    }
}

/// The next of a stack with a [`Middleware`] around it.
#[derive(Clone, Debug)]
pub(crate) struct MiddlewareService<T, S> {
    middleware: T,
    next: S,
}

impl<T, S> Service<Request<Incoming>> for MiddlewareService<T, S>
where
    T: Middleware<S>,
    S: Clone,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<T::Response, T::Error>> + Send>>;

    /// Always ready: the step waits for the next, so that it also sees the next's refusal to
    /// become ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.middleware.clone().run(request, self.next.clone()))
    }
}
