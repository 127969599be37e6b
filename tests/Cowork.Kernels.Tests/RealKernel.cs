using System.Text.Json;

using Cowork.Application;

using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Kernels.Tests;

/// <summary>A kernel in its sandbox, with a workspace of its own. Specs of a class share one where they leave no trace in it.</summary>
public sealed class RealKernel : IAsyncLifetime
{
    /// <summary>All sandboxes of this process.</summary>
    public static readonly SandboxedKernels Kernels = new([AppContext.BaseDirectory], TimeProvider.System, NullLogger<SandboxedKernels>.Instance);

    public KernelLimits Limits { get; init; } = KernelLimits.Default;

    public string Folder { get; } = Directory.CreateTempSubdirectory("cowork-kernels-").FullName;

    public IKernel Kernel { get; private set; } = null!;

    /// <summary>Process of bubblewrap.</summary>
    public int ProcessId => ((SandboxedKernel)Kernel).ProcessId;

    public static async Task<RealKernel> Start(KernelLimits? limits = null)
    {
        var started = new RealKernel { Limits = limits ?? KernelLimits.Default };
        await started.InitializeAsync();
        return started;
    }

    public async ValueTask InitializeAsync() => Kernel = await Kernels.Start(new(Grants.Of(Grant.Of(Folder)), Limits), CancellationToken.None);

    public async Task<CellRun> Run(string code, CancellationToken interrupt = default) => new(await Kernel.Execute(code, interrupt).ToListAsync(CancellationToken.None));

    public string In(string name) => Path.Combine(Folder, name);

    public async ValueTask DisposeAsync()
    {
        await Kernel.DisposeAsync();
        Directory.Delete(Folder, recursive: true);
    }
}

/// <summary>What a cell said.</summary>
public sealed record CellRun(IReadOnlyList<KernelMessage> Messages)
{
    public KernelMessage.Done Done => (KernelMessage.Done)Messages[^1];

    public KernelMessage.Error Error => Messages.OfType<KernelMessage.Error>().Single();

    public string Output => StreamText("stdout");

    public string StreamText(string name) => string.Concat(Messages.OfType<KernelMessage.Stream>().Where(s => s.Name == name).Select(s => s.Text));

    /// <summary>The value of the last expression, as text.</summary>
    public string? Result => Messages.OfType<KernelMessage.Display>().SingleOrDefault(d => d.IsResult)?.Data.GetProperty("text/plain").GetString();

    /// <summary>What was displayed, in one MIME type.</summary>
    public JsonElement Shown(string mime) => Messages.OfType<KernelMessage.Display>().Single().Data.GetProperty(mime);

    /// <summary>The cell succeeded.</summary>
    public CellRun Succeeded()
    {
        Assert.True(Done.Outcome == KernelOutcome.Succeeded, string.Join('\n', Messages));
        return this;
    }

    /// <summary>The cell ended for the limit, and its kernel was restarted.</summary>
    public CellRun EndedFor(string limit)
    {
        Assert.True(Done is { Outcome: KernelOutcome.Failed, IsStateLost: true } && Done.Limit == limit && Done.Why is not null, string.Join('\n', Messages));
        return this;
    }
}
