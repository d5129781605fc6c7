# syntax=docker/dockerfile:1
ARG PYTHON_IMAGE=python:3.13-slim
# "full" adds the optional extras, such as apprise; each is a file in requirements/.
ARG REQUIREMENTS=runtime

FROM ${PYTHON_IMAGE} AS build
ARG REQUIREMENTS
WORKDIR /src
COPY requirements/${REQUIREMENTS}.txt requirements/
# Compiled here, as nothing can be written later: a start takes half as long with it.
RUN python3 -m venv --without-pip /opt/job-monitor \
 && python3 -m pip --python /opt/job-monitor install --no-cache-dir --require-hashes -r "requirements/${REQUIREMENTS}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY monitor monitor
RUN python3 -m pip --python /opt/job-monitor install --no-cache-dir --no-deps .

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
# Where the source of this build is to be found, if anywhere.
ARG SOURCE=
LABEL org.opencontainers.image.title="AWS job monitor" \
      org.opencontainers.image.description="Watches long-running AWS jobs and notifies people and programs when they change." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/job-monitor /opt/job-monitor
# For group 0 as well: OpenShift runs it as a user of its own choice in that group.
RUN install -d -o 65532 -g 0 -m 0770 /var/lib/job-monitor
# One arena for all threads: theirs would hold some megabytes that nothing uses.
ENV PATH=/opt/job-monitor/bin:$PATH \
    MALLOC_ARENA_MAX=1 \
    HOME=/var/lib/job-monitor \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    JOB_MONITOR_CONFIG=/etc/job-monitor \
    JOB_MONITOR_SERVER__LISTEN=:9847
USER 65532:65532
WORKDIR /var/lib/job-monitor
VOLUME /var/lib/job-monitor
EXPOSE 9847
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["job-monitor", "health"]
ENTRYPOINT ["job-monitor"]
CMD ["run", "--config", "/etc/job-monitor"]
