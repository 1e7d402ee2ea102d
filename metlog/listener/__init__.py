"""The listener: inputs take frames, the journal keeps them, outputs hand them on. `metlog.listener.service` runs it."""
