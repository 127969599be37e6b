using Cowork.Marten;


using JasperFx.CodeGeneration;
using JasperFx.CodeGeneration.Model;

using Microsoft.Extensions.DependencyInjection;

// Writes the code of the handlers and endpoints, which the build compiles into an assembly of its own. Nothing is connected to.
if (args is not [var directory])
{
    Console.Error.WriteLine("usage: Cowork.Marten DIRECTORY");
    return 2;
}
DynamicCodeBuilder.WithinCodegenCommand = true;
await using var engine = new MartenEngine(new("Host=nowhere", "none", []));
await using var bus = engine.BuildBus(directory);
var code = new DynamicCodeBuilder(bus.Services, [.. bus.Services.GetServices<ICodeFileCollection>()])
{
    ServiceVariableSource = bus.Services.GetService<IServiceVariableSource>(),
};
code.WriteGeneratedCode(Console.WriteLine);
return 0;
