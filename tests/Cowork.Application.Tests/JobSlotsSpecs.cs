using Cowork.Application.Storage;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class JobSlotsSpecs
{
    [Fact]
    public void A_tenant_gives_up_a_slot_to_its_own_jobs_and_to_who_has_none()
    {
        var slots = new JobSlots(_ => 10);
        slots.Take("scratchpad", "many");
        slots.Take("scratchpad", "some");
        Assert.False(slots.WantsRoom("scratchpad", "many"));
        slots.SetWaiting([("scratchpad", "many")]);
        Assert.True(slots.WantsRoom("scratchpad", "many"));
        Assert.False(slots.WantsRoom("scratchpad", "some"));
        Assert.False(slots.WantsRoom("run", "many"));
        slots.SetWaiting([("scratchpad", "none")]);
        Assert.True(slots.WantsRoom("scratchpad", "many"));
        Assert.True(slots.WantsRoom("scratchpad", "some"));
    }
}
