"""What operations take and give: frozen pydantic models that refuse unknown members. The only transfer objects."""
