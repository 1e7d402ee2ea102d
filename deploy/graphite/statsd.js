// The configuration of Etsy's statsd (npm: statsd). statsd reads one JavaScript object.
{
  address: "127.0.0.1",
  port: Number(process.env.STATSD_PORT || 8125),
  mgmt_address: "127.0.0.1",
  mgmt_port: Number(process.env.STATSD_ADMIN_PORT || 8126),
  backends: ["./backends/graphite"],
  graphiteHost: "127.0.0.1",
  graphitePort: Number(process.env.CARBON_PORT || 2003),
  // Milliseconds; the first step in storage-schemas.conf is the same in seconds.
  flushInterval: 10000,
  percentThreshold: [50, 95, 99],
  // A counter or timer without news sends nothing, instead of zeros for ever: fewer points, and a name that is gone is gone.
  deleteIdleStats: true,
  graphite: {
    // stats.counters.NAME.count, stats.timers.NAME.mean, …: one namespace, as storage-schemas.conf has it.
    legacyNamespace: false
  }
}
