"""The peer of the HTTP measures: an empty FastAPI POST endpoint on the same server with the same options."""

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI(telemetry={"logs": False, "operation_spans": False})


@app.post("/empty")
async def empty():
    return {}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        lifespan="off",
        loop="uvloop",
        http="httptools",
    )
