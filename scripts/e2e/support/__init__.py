"""What the end-to-end cases are written with: namespaces, frames, programs, streams and the shared
lab."""
