using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Marten;

using JasperFx.CodeGeneration;
using JasperFx.CodeGeneration.Model;

using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

using Wolverine;
using Wolverine.Http;

// Writes the code of the handlers and endpoints, which the build compiles into an assembly of its own. Nothing is started or connected to.
if (args is not [var directory])
{
    Console.Error.WriteLine("usage: Cowork.Marten DIRECTORY");
    return 2;
}
DynamicCodeBuilder.WithinCodegenCommand = true;
var builder = WebApplication.CreateSlimBuilder();
// The generated code takes these from the container; who makes them does not matter here.
foreach (var service in (Type[])[typeof(CommandHandler), typeof(JobExecutor), typeof(StorageEngine), typeof(DeadLetters), .. WolverineConfiguration.JobHandlerTypes])
{
    builder.Services.AddSingleton(service, _ => throw new InvalidOperationException($"{service} is not needed to write code."));
}
builder.Services.AddRouting();
builder.Services.AddWolverine(ExtensionDiscovery.ManualOnly, wolverine => WolverineConfiguration.Apply(wolverine, new("", "", []), directory));
builder.Services.AddWolverineHttp();
await using var app = builder.Build();
app.MapWolverineEndpoints();
var code = new DynamicCodeBuilder(app.Services, [.. app.Services.GetServices<ICodeFileCollection>()])
{
    ServiceVariableSource = app.Services.GetService<IServiceVariableSource>(),
};
code.WriteGeneratedCode(Console.WriteLine);
return 0;
