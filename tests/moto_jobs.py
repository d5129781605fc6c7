"""Jobs of many services on moto, each started by the plain SDK."""

from __future__ import annotations

import json
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.moto_kit import Aws

ROLE = "arn:aws:iam::123456789012:role/jobs"
BUILD_ROLE = "arn:aws:iam::123456789012:role/service-role/jobs"


def configure(url: str, **settings: Any) -> None:
    """Change how moto behaves, such as whether it runs containers."""
    request = urllib.request.Request(
        f"{url}/moto-api/config",
        data=json.dumps(settings).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    urllib.request.urlopen(request, timeout=60).close()


def fresh() -> str:
    """Return a name that nothing has."""
    return f"x{uuid.uuid4().hex[:10]}"


class Jobs:
    """Starts jobs in one account; what they run in is made once, and is called by ``suffix``."""

    def __init__(self, aws: Aws, suffix: str = "") -> None:
        self.aws = aws
        self.suffix = suffix
        self._made: dict[str, Any] = {}

    def prepare(self) -> None:
        """Make what all jobs need."""
        policy = json.dumps({"Version": "2012-10-17", "Statement": []})
        self.aws.ask("iam", "create_role", RoleName="jobs", AssumeRolePolicyDocument=policy)

    def end(self, kind: str) -> None:
        """Delete the parent of the jobs of a type."""
        made = self._made
        match kind:
            case "batch.job":
                queue = made["batch"][0]
                self.aws.ask("batch", "update_job_queue", jobQueue=queue, state="DISABLED")
                self.aws.ask("batch", "delete_job_queue", jobQueue=queue)
            case "glue.job-run":
                self.aws.ask("glue", "delete_job", JobName=f"nightly etl{self.suffix}")
            case "emr.step":
                self.aws.ask("emr", "terminate_job_flows", JobFlowIds=[made["emr"]])
            case "stepfunctions.execution":
                arn = made["machine"]
                self.aws.ask("stepfunctions", "delete_state_machine", stateMachineArn=arn)
            case "ecs.task":
                self.aws.ask("ecs", "delete_cluster", cluster=f"blue{self.suffix}")

    def start(self, kind: str) -> str:
        """Start a job of a type; return its id as the type has it."""
        start: Callable[[Jobs], str] = STARTS[kind]
        return start(self)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def batch(self) -> str:
        def make() -> tuple[str, str]:
            place = self.aws.ask(
                "batch",
                "create_compute_environment",
                computeEnvironmentName=fresh(),
                type="UNMANAGED",
                state="ENABLED",
                serviceRole=ROLE,
            )["computeEnvironmentArn"]
            queue = self.aws.ask(
                "batch",
                "create_job_queue",
                jobQueueName=f"nightly{self.suffix}",
                state="ENABLED",
                priority=1,
                computeEnvironmentOrder=[{"order": 1, "computeEnvironment": place}],
            )["jobQueueArn"]
            container = {"image": "busybox", "vcpus": 1, "memory": 128, "command": ["true"]}
            definition = self.aws.ask(
                "batch",
                "register_job_definition",
                jobDefinitionName=fresh(),
                type="container",
                containerProperties=container,
            )["jobDefinitionArn"]
            return queue, definition

        queue, definition = self.once("batch", make)
        job = self.aws.ask(
            "batch", "submit_job", jobName=fresh(), jobQueue=queue, jobDefinition=definition
        )
        return str(job["jobId"])

    def glue(self) -> str:
        self.once(
            "glue",
            lambda: self.aws.ask(
                "glue",
                "create_job",
                Name=f"nightly etl{self.suffix}",
                Role=ROLE,
                Command={"Name": "glueetl", "ScriptLocation": "s3://b/k"},
                ExecutionProperty={"MaxConcurrentRuns": 1000},
            ),
        )
        name = f"nightly etl{self.suffix}"
        return f"{name}/{self.aws.ask('glue', 'start_job_run', JobName=name)['JobRunId']}"

    def execution(self) -> str:
        states = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
        machine = self.once(
            "machine",
            lambda: self.aws.ask(
                "stepfunctions",
                "create_state_machine",
                name=f"m{self.suffix}",
                definition=json.dumps(states),
                roleArn=ROLE,
            )["stateMachineArn"],
        )
        started = self.aws.ask("stepfunctions", "start_execution", stateMachineArn=machine)
        arn = str(started["executionArn"])
        self.aws.ask("stepfunctions", "stop_execution", executionArn=arn)
        return arn

    def training(self) -> str:
        name = fresh()
        self.aws.ask(
            "sagemaker",
            "create_training_job",
            TrainingJobName=name,
            AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File"},
            RoleArn=ROLE,
            OutputDataConfig={"S3OutputPath": "s3://b/o"},
            ResourceConfig={
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
        return name

    def transcription(self) -> str:
        name = fresh()
        self.aws.ask(
            "transcribe",
            "start_transcription_job",
            TranscriptionJobName=name,
            LanguageCode="en-US",
            Media={"MediaFileUri": "s3://b/a.mp3"},
        )
        # Moto gives it a state when it is first described, and a row has none before.
        self.aws.ask("transcribe", "get_transcription_job", TranscriptionJobName=name)
        return name

    def step(self) -> str:
        instances = {
            "MasterInstanceType": "m5.xlarge",
            "SlaveInstanceType": "m5.xlarge",
            "InstanceCount": 2,
            "KeepJobFlowAliveWhenNoSteps": True,
        }
        cluster = self.once(
            "emr",
            lambda: self.aws.ask(
                "emr",
                "run_job_flow",
                Name="c",
                ReleaseLabel="emr-6.15.0",
                Instances=instances,
                JobFlowRole="EMR_EC2_DefaultRole",
                ServiceRole="EMR_DefaultRole",
            )["JobFlowId"],
        )
        jar = {"Jar": "command-runner.jar", "Args": ["true"]}
        step = {"Name": "s", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
        made = self.aws.ask("emr", "add_job_flow_steps", JobFlowId=cluster, Steps=[step])
        return f"{cluster}/{made['StepIds'][0]}"

    def replication(self) -> str:
        task = self.aws.ask(
            "dms",
            "create_replication_task",
            ReplicationTaskIdentifier=fresh(),
            SourceEndpointArn="arn:aws:dms:us-east-1:123456789012:endpoint:s",
            TargetEndpointArn="arn:aws:dms:us-east-1:123456789012:endpoint:t",
            ReplicationInstanceArn="arn:aws:dms:us-east-1:123456789012:rep:i",
            MigrationType="full-load",
            TableMappings="{}",
        )
        return str(task["ReplicationTask"]["ReplicationTaskArn"])

    def task(self) -> str:
        def make() -> tuple[str, dict[str, Any]]:
            self.aws.ask("ecs", "create_cluster", clusterName=f"blue{self.suffix}")
            definition = self.aws.ask(
                "ecs",
                "register_task_definition",
                family="f",
                networkMode="awsvpc",
                requiresCompatibilities=["FARGATE"],
                cpu="256",
                memory="512",
                containerDefinitions=[{"name": "c", "image": "busybox", "memory": 128}],
            )["taskDefinition"]["taskDefinitionArn"]
            subnet = self.aws.ask("ec2", "describe_subnets")["Subnets"][0]["SubnetId"]
            groups = self.aws.ask("ec2", "describe_security_groups")["SecurityGroups"]
            group = groups[0]["GroupId"]
            place = {"subnets": [subnet], "securityGroups": [group]}
            return definition, {"awsvpcConfiguration": place}

        definition, network = self.once("ecs", make)
        tasks = self.aws.ask(
            "ecs",
            "run_task",
            cluster=f"blue{self.suffix}",
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration=network,
        )["tasks"]
        self.aws.ask("ecs", "stop_task", cluster=f"blue{self.suffix}", task=tasks[0]["taskArn"])
        return str(tasks[0]["taskArn"])

    def build(self) -> str:
        self.once(
            "codebuild",
            lambda: self.aws.ask(
                "codebuild",
                "create_project",
                name="project",
                source={"type": "S3", "location": "b/k"},
                artifacts={"type": "NO_ARTIFACTS"},
                environment={
                    "type": "LINUX_CONTAINER",
                    "image": "i",
                    "computeType": "BUILD_GENERAL1_SMALL",
                },
                serviceRole=BUILD_ROLE,
            ),
        )
        return str(self.aws.ask("codebuild", "start_build", projectName="project")["build"]["id"])

    def stack(self) -> str:
        template = json.dumps({"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}})
        made = self.aws.ask(
            "cloudformation", "create_stack", StackName=fresh(), TemplateBody=template
        )
        return str(made["StackId"])

    def snapshot(self) -> str:
        self.once(
            "rds",
            lambda: self.aws.ask(
                "rds",
                "create_db_instance",
                DBInstanceIdentifier="base",
                DBInstanceClass="db.t3.micro",
                Engine="postgres",
                AllocatedStorage=10,
                MasterUsername="u",
                MasterUserPassword="a-long-password",
            ),
        )
        name = fresh()
        self.aws.ask(
            "rds",
            "create_db_snapshot",
            DBSnapshotIdentifier=name,
            DBInstanceIdentifier="base",
        )
        return name

    def cluster(self) -> str:
        name = fresh()
        self.aws.ask(
            "redshift",
            "create_cluster",
            ClusterIdentifier=name,
            NodeType="dc2.large",
            MasterUsername="u",
            MasterUserPassword="A-long-passw0rd",
        )
        return name


STARTS: dict[str, Callable[[Jobs], str]] = {
    "batch.job": Jobs.batch,
    "cloudformation.stack": Jobs.stack,
    "codebuild.build": Jobs.build,
    "ecs.task": Jobs.task,
    "dms.task": Jobs.replication,
    "emr.step": Jobs.step,
    "glue.job-run": Jobs.glue,
    "rds.snapshot": Jobs.snapshot,
    "redshift.cluster": Jobs.cluster,
    "sagemaker.training": Jobs.training,
    "stepfunctions.execution": Jobs.execution,
    "transcribe.job": Jobs.transcription,
}
"""Job type → how one is started; where it can be stopped at once, it is.

Left out is what moto cannot do: it has no BatchGetQueryExecution (Athena), no ListTaskExecutions
(DataSync), dates the runs of EMR Serverless and on EKS to midnight, and lists DynamoDB exports
of one table only.
"""

NO_PARENT = {
    "cloudformation.stack",
    "codebuild.build",
    "dms.task",
    "rds.snapshot",
    "redshift.cluster",
    "sagemaker.training",
    "transcribe.job",
}
"""Types whose jobs are listed all at once."""
