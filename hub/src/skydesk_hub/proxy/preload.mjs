// Loaded before configurable-http-proxy: keeps its connections to our unix sockets open between requests.
//
// Without an agent the proxy asks each service to close after the answer. A fast answer to a POST then closes the
// socket before node's last, empty write to it, which fails with EPIPE on unix sockets, and the person sees a 503.
// Idle connections end here before uvicorn's own limit of 5 s ends them there, for the same reason.
import http from "node:http";
import ConfigurableProxy from "./node_modules/configurable-http-proxy/lib/configproxy.js";

const agent = new http.Agent({ keepAlive: true, timeout: 4000 });
const proxyOptsForTarget = ConfigurableProxy.prototype.proxyOptsForTarget;
const handleProxyWeb = ConfigurableProxy.prototype.handleProxyWeb;
const known = new WeakSet();

ConfigurableProxy.prototype.proxyOptsForTarget = function (target) {
  const options = proxyOptsForTarget.call(this, target);
  if (options.target.socketPath) options.agent = agent;
  return options;
};

ConfigurableProxy.prototype.handleProxyWeb = function (...args) {
  if (!known.has(this.proxy)) {
    known.add(this.proxy);
    // What the browser wants of its own connection says nothing about ours.
    this.proxy.on("proxyReq", (request) => request.setHeader("connection", "keep-alive"));
  }
  return handleProxyWeb.apply(this, args);
};
