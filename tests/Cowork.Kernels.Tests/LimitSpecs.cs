using Cowork.Application;

namespace Cowork.Kernels.Tests;

/// <summary>Cells past a limit: they end, harm only themselves, and the next cell runs.</summary>
public sealed class LimitSpecs(LimitSpecs.SmallKernel kernel) : IClassFixture<LimitSpecs.SmallKernel>
{
    /// <summary>Limits that are reached soon.</summary>
    static readonly KernelLimits Small = new(TimeSpan.FromSeconds(60), 64 * 1024, 700L << 20, 32, 64L << 20);

    [Fact]
    public async Task A_cell_that_prints_without_end_is_cut_and_ended()
    {
        var run = (await Run("while True: print('x' * 1000)")).EndedFor(KernelLimitCodes.Output);
        Assert.Equal(Small.OutputBytes, run.Output.Length);
        Assert.Single(run.Messages.OfType<KernelMessage.Truncated>());
        await ItWorksAgain();
    }

    [Fact]
    public async Task Of_a_text_that_is_too_long_to_be_read_the_beginning_is_passed_on()
    {
        var run = (await Run("print('€' * 30_000_000)")).EndedFor(KernelLimitCodes.Output);
        Assert.Equal(new string('€', (int)Small.OutputBytes / 3), run.Output);
        await ItWorksAgain();
    }

    [Theory]
    [InlineData("hoard = bytearray(100 << 30)", "MemoryError", "734003200 bytes of memory")]
    [InlineData("import numpy\nnumpy.zeros((10**6, 10**6))", "MemoryError", "734003200 bytes of memory")]
    [InlineData("raise MemoryError('mine')", "MemoryError", "mine")]
    [InlineData("raise BlockingIOError(11, 'mine')", "BlockingIOError", "mine")]
    [InlineData("raise OSError(28, 'mine')", "OSError", "mine")]
    [InlineData("open('/tmp/full', 'wb').write(bytes(300 << 20))", "OSError", "268435456 to /tmp")] // larger than a file may be
    [InlineData("for i in range(20): open(f'/tmp/full{i}', 'wb').write(bytes(20 << 20))", "OSError", "268435456 to /tmp")]
    [InlineData("for i in range(20): open(f'/dev/shm/full{i}', 'wb').write(bytes(20 << 20))", "OSError", "No space left")]
    [InlineData("open('full', 'wb').write(bytes(100 << 20))", "OSError", "67108864 bytes to its workspace")]
    public async Task What_is_refused_is_an_exception_and_the_kernel_keeps_its_variables(string code, string name, string said)
    {
        (await Run("kept = 41")).Succeeded();
        var run = await Run(code);
        Assert.Equal(name, run.Error.Name);
        Assert.True(run.Done is { Outcome: KernelOutcome.Failed, Limit: null, IsStateLost: false }, run.Done.ToString());
        Assert.Contains(said, run.Done.Why, StringComparison.Ordinal);
        Assert.Equal("42", (await Run("import glob, os\nfor n in glob.glob('full*') + glob.glob('/tmp/full*') + glob.glob('/dev/shm/full*'): os.remove(n)\nkept + 1")).Result);
    }

    [Fact]
    public async Task Threads_that_are_refused_are_an_exception_when_those_that_began_end()
    {
        (await Run("kept = 41")).Succeeded();
        var run = await Run(
            """
            import threading
            go = threading.Event()
            try:
                for i in range(100): threading.Thread(target=go.wait).start()
            finally:
                go.set()
            """);
        Assert.Equal("RuntimeError", run.Error.Name);
        Assert.True(run.Done is { Outcome: KernelOutcome.Failed, Limit: null, IsStateLost: false }, run.Done.ToString());
        Assert.Equal("42", (await Run("kept + 1")).Result);
    }

    [Fact]
    public async Task A_cell_that_takes_memory_piece_by_piece_is_ended()
    {
        (await Run("hoard = []\nwhile True: hoard.append(b'x' * (8 << 20))")).EndedFor(KernelLimitCodes.Memory);
        await ItWorksAgain();
    }

    [Fact]
    public async Task Processes_of_a_cell_share_its_memory()
    {
        (await Run(
            """
            import os, time
            for i in range(10):
                if os.fork() == 0:
                    hoard = b'x' * (100 << 20)
                    time.sleep(60)
            time.sleep(60)
            """)).EndedFor(KernelLimitCodes.Memory);
        await ItWorksAgain();
    }

    [Fact]
    public async Task A_fork_bomb_harms_only_its_kernel()
    {
        var run = (await Run("import os\nwhile True: os.fork()")).EndedFor(KernelLimitCodes.Processes);
        Assert.True(run.Done.Took < Small.Time / 2, run.Done.ToString());
        await ItWorksAgain();
    }

    [Fact]
    public async Task Threads_are_bounded_as_processes_are()
    {
        (await Run("import threading\nfor i in range(100): threading.Thread(target=threading.Event().wait, daemon=True).start()")).EndedFor(KernelLimitCodes.Processes);
        await ItWorksAgain();
    }

    [Theory]
    [InlineData("import itertools\nfor i in itertools.count(): open(f'full{i}', 'wb').write(bytes(4 << 20))")]
    [InlineData("import itertools\nfor i in itertools.count(): open(f'empty{i}', 'wb').close()")]
    [InlineData("import os\nos.mkdir('closed')\nos.chdir('closed')\nos.chmod('.', 0o300)\nfor i in range(10_000): open(f'full{i}', 'wb').write(bytes(4 << 20))")]
    [InlineData("import os\nkept = []\nwhile True:\n    kept.append(open('gone', 'wb'))\n    os.remove('gone')\n    kept[-1].write(bytes(4 << 20))\n    kept[-1].flush()")]
    public async Task A_cell_that_fills_a_disk_is_ended(string code)
    {
        (await Run(code)).EndedFor(KernelLimitCodes.Disk);
        // What lies in the workspace stays, and can be tidied up.
        Assert.True((await Run("import os, shutil, glob\n%cd /workspace\nfor n in os.listdir(): shutil.rmtree(n) if os.path.isdir(n) else os.remove(n)")).Done.Limit is null);
        Assert.Empty(Directory.GetFileSystemEntries(kernel.Inner.Folder));
        await ItWorksAgain();
    }

    [Fact]
    public async Task A_cell_that_takes_too_long_is_interrupted_and_its_kernel_restarted()
    {
        await using var quick = await RealKernel.Start(Small with { Time = TimeSpan.FromSeconds(1) });
        await HasTime(quick);
        // A kernel that got no processor for the three seconds that it has is killed, and tells of no interrupt.
        var run = (await quick.Run("import time\ntime.sleep(60)")).EndedFor(KernelLimitCodes.Time);
        for (var more = 20; more > 0 && !run.Messages.OfType<KernelMessage.Error>().Any(); more--)
        {
            run = (await quick.Run("import time\ntime.sleep(60)")).EndedFor(KernelLimitCodes.Time);
        }
        Assert.Equal("KeyboardInterrupt", run.Error.Name);
        await HasTime(quick);
    }

    [Fact]
    public async Task A_cell_that_takes_too_long_and_hears_no_interrupt_loses_its_kernel()
    {
        await using var quick = await RealKernel.Start(Small with { Time = TimeSpan.FromMilliseconds(500) });
        (await quick.Run("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")).EndedFor(KernelLimitCodes.Time);
        await HasTime(quick);
    }

    /// <summary>A cell that asks for no time is executed. On a busy machine also such a one may take longer than a very short limit, which then ends it as it must.</summary>
    static async Task HasTime(RealKernel quick)
    {
        var run = await quick.Run("1 + 1");
        for (var more = 20; more > 0 && run.Done.Limit == KernelLimitCodes.Time; more--)
        {
            run = await quick.Run("1 + 1");
        }
        Assert.Equal("2", run.Result);
    }

    Task<CellRun> Run(string code) => kernel.Inner.Run(code);

    /// <summary>The kernel that came after it is a new one, and nothing of the old one is left.</summary>
    async Task ItWorksAgain() => Assert.Equal(
        "(0, [], 2)",
        (await Run("import os\nlen([n for n in globals() if n == 'hoard']), [n for n in os.listdir('/dev/shm') + os.listdir('/tmp') if 'full' in n], len([p for p in os.listdir('/proc') if p.isdigit()])")).Result);

    public sealed class SmallKernel : IAsyncLifetime
    {
        public RealKernel Inner { get; } = new() { Limits = Small };

        public ValueTask InitializeAsync() => Inner.InitializeAsync();

        public ValueTask DisposeAsync() => Inner.DisposeAsync();
    }
}
