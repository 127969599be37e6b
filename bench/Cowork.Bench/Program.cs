using Cowork.Bench;
using Cowork.Marten;

using Microsoft.Extensions.Logging.Abstractions;

if (Plan.Read(args) is not { } plan)
{
    Console.Error.WriteLine(Plan.Usage);
    return 2;
}
var directory = Directory.CreateTempSubdirectory("cowork-bench-").FullName;
try
{
    await using var postgres = await PrivatePostgres.Start(new(Path.Combine(directory, "postgres")), NullLogger<PrivatePostgres>.Instance, CancellationToken.None);
    await Workloads.Run(plan, postgres.AdministratorConnectionString, postgres.ProcessId!.Value, directory);
}
finally
{
    Directory.Delete(directory, recursive: true);
}
return 0;
