"""What people see: sign-in, the denial, my apps, sessions and keys. Server-rendered, no build step."""
