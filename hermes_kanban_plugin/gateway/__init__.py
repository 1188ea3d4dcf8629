"""The gateway side: one dispatcher process, started and watched for as long as the gateway runs."""
