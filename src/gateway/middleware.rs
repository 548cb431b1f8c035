//! A layer of the stack, written as one async method around the next layer.
//!
//! tower's `Layer` and `Service` need two types, a future type and `poll_ready` for each layer. That hides the
//! few lines that matter. Here a layer implements [`Middleware`], and [`layer`] turns it into a tower layer.
//! The price is one boxed future per layer and request.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;
use tower::{Layer, Service};

/// The behaviour of a layer.
pub(crate) trait Middleware<N: Next>: Clone {
    type Response;
    type Error;

    /// Handles one request. Calls `next.oneshot(request)` to pass it on, or answers without it.
    fn run(
        self,
        request: Request<Incoming>,
        next: N,
    ) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send + 'static;
}

/// The next layer of the stack, with everything inside it.
pub(crate) trait Next: Service<Request<Incoming>, Future: Send> + Clone + Send + 'static {}

impl<N: Service<Request<Incoming>, Future: Send> + Clone + Send + 'static> Next for N {}

/// Turns a [`Middleware`] into a tower layer.
pub(crate) fn layer<M>(middleware: M) -> MiddlewareLayer<M> {
    MiddlewareLayer(middleware)
}

#[derive(Clone, Debug)]
pub(crate) struct MiddlewareLayer<M>(M);

impl<M: Clone, N> Layer<N> for MiddlewareLayer<M> {
    type Service = MiddlewareService<M, N>;

    fn layer(&self, next: N) -> MiddlewareService<M, N> {
        MiddlewareService { middleware: self.0.clone(), next }
    }
}

/// A [`Middleware`] together with the next layer.
#[derive(Clone, Debug)]
pub(crate) struct MiddlewareService<M, N> {
    middleware: M,
    next: N,
}

impl<M: Middleware<N>, N: Next> Service<Request<Incoming>> for MiddlewareService<M, N> {
    type Response = M::Response;
    type Error = M::Error;
    type Future = Pin<Box<dyn Future<Output = Result<M::Response, M::Error>> + Send>>;

    /// Always ready. `oneshot` waits for the next layer within `run`, so the layer also sees the error of a
    /// next layer that does not become ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.middleware.clone().run(request, self.next.clone()))
    }
}
