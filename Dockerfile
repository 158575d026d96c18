# The image holds the runtime set, and what tracing needs: no Envoy, no test tools. It needs no writable file system and
# runs as any user.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m venv /opt/extproc \
 && PIP_CONSTRAINT=constraints.txt /opt/extproc/bin/pip install --no-cache-dir --disable-pip-version-check '.[tracing]' \
 && /opt/extproc/bin/pip uninstall --yes --quiet pip \
 && chgrp -R 0 /opt/extproc \
 && chmod -R g=u /opt/extproc

FROM python:3.11-slim
COPY --from=build /opt/extproc /opt/extproc
ENV PATH=/opt/extproc/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Any user id will do, as OpenShift gives it: nothing is written, and group 0 reads everything.
USER 65532:0
EXPOSE 9002 9003 9090
ENTRYPOINT ["extproc"]
CMD ["serve"]
