"""Where Alembic and the toolkit meet: the environment, and the bridge from `op` to `operate`."""
